//! argv to exit code.

fn main() -> std::process::ExitCode {
    popbridge::secret::prevent_core_dumps();
    popbridge::cli::main()
}
