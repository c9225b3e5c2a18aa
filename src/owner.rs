//! Whose the files are that root makes for a service that runs as somebody else.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::Path;

/// Root's new file in somebody's folder is that one's: the service that keeps its state there could
/// not read it otherwise. Others cannot give files away, and need not.
pub fn give_to_owner_of(folder: &Path, file: &File) -> io::Result<()> {
    let own = file.metadata()?;
    let folder = folder.metadata()?;
    if own.uid() != 0 || folder.uid() == 0 {
        return Ok(());
    }
    fchown(file, Some(folder.uid()), Some(folder.gid()))
}

/// The folder that a file is in.
pub fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
