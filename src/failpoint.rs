//! Places where a test lets the program die as by a power cut; only in debug builds.

/// Kills this process with SIGKILL if `POPBRIDGE_DIE_AT` names this place.
#[cfg(debug_assertions)]
pub fn reached(place: &str) {
    if std::env::var("POPBRIDGE_DIE_AT").is_ok_and(|wanted| wanted == place) {
        // The shell's own `kill`: no package to need. Without it the test that asked for this fails
        // on what goes on here.
        let kill = format!("kill -9 {}", std::process::id());
        let _ = std::process::Command::new("sh").args(["-c", &kill]).status();
    }
}

/// Nothing in a release build.
#[cfg(not(debug_assertions))]
pub fn reached(_place: &str) {}
