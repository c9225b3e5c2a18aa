//! argv to exit code.

fn main() -> std::process::ExitCode {
    popbridge::cli::main()
}
