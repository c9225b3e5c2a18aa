//! Where state is kept when the configuration names no absolute path.

use std::env;
use std::path::{Path, PathBuf};

/// The state directory: systemd's, else beside the configuration, else the user's.
///
/// `folder` is the configuration's; `None` when there is no file.
pub fn state_directory(folder: Option<&Path>) -> PathBuf {
    // systemd separates several with colons; the first is ours (systemd.exec(5)).
    if let Some(given) = env::var_os("STATE_DIRECTORY")
        && let Some(first) = env::split_paths(&given).next().filter(|path| path.is_absolute())
    {
        return first;
    }
    if let Some(folder) = folder {
        return folder.to_owned();
    }
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map_or_else(|| PathBuf::from("."), |state| state.join("popbridge"))
}
