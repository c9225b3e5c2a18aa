//! A core dump would hold every secret in memory.

/// No core dump of this process, and no look into its memory by other programs of its user, where
/// the system allows that (prctl(2), `PR_SET_DUMPABLE`). Without it, nothing else changes.
pub fn prevent_core_dumps() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{DumpableBehavior, set_dumpable_behavior};
        let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    }
}
