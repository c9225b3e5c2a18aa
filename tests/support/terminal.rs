//! A program at a terminal of its own, and a person in front of it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::process;

/// For each thing that the program says.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pseudo-terminal with a program on it; the program ends with this value.
pub struct Terminal {
    keyboard: File,
    child: Child,
    screen: Arc<Screen>,
    /// What is before has been waited for already.
    seen: usize,
}

#[derive(Default)]
struct Screen {
    shown: Mutex<Vec<u8>>,
    changed: Condvar,
}

impl Screen {
    fn shown(&self) -> MutexGuard<'_, Vec<u8>> {
        self.shown.lock().unwrap_or_else(|poison| poison.into_inner())
    }
}

impl Terminal {
    /// Starts a program whose standard streams are all the terminal.
    pub fn start(command: &mut Command) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&master).expect("it is ours");
        unlockpt(&master).expect("it is ours");
        let size = Winsize { ws_row: 50, ws_col: 200, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&master, size).expect("a terminal has a size");
        // It must not become the terminal of the tests themselves.
        let other_end = || ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY);
        let open = || Stdio::from(other_end().expect("its other end"));
        let child = command.stdin(open()).stdout(open()).stderr(open()).spawn().expect("the program starts");
        // The parent's copies go, so that reading ends with the program.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let keyboard = File::from(master);
        let screen = Arc::new(Screen::default());
        let (writer, mut reader) = (Arc::clone(&screen), keyboard.try_clone().expect("a descriptor"));
        thread::spawn(move || {
            let mut octets = [0; 4096];
            // EIO: the program has ended.
            while let Ok(count @ 1..) = reader.read(&mut octets) {
                writer.shown().extend_from_slice(&octets[..count]);
                writer.changed.notify_all();
            }
        });
        Self { keyboard, child, screen, seen: 0 }
    }

    /// Waits until the program has shown this, behind what was waited for before.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        let mut shown = self.screen.shown();
        loop {
            let new = String::from_utf8_lossy(&shown[self.seen..]).into_owned();
            if let Some(at) = new.find(text) {
                // Lossy text is as long as the octets wherever they are UTF-8, as ours are.
                self.seen += at + text.len();
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{text:?} is not shown:\n{}", String::from_utf8_lossy(&shown));
            let waited = self.screen.changed.wait_timeout(shown, left.min(Duration::from_millis(200)));
            (shown, _) = waited.unwrap_or_else(|poison| poison.into_inner());
        }
    }

    /// Types, exactly this.
    pub fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).expect("the program still reads");
    }

    /// Waits for a question, and answers it.
    #[track_caller]
    pub fn answer(&mut self, question: &str, answer: &str) {
        self.expect(question);
        self.press(&format!("{answer}\r"));
    }

    /// All that was shown.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.screen.shown()).into_owned()
    }

    /// Waits until the program ends by itself.
    pub fn end(&mut self) -> ExitStatus {
        let status = process::wait(&mut self.child, PATIENCE);
        status.unwrap_or_else(|| panic!("it goes on:\n{}", self.screen()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // By its handle, which is this process and no other.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
