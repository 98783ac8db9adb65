use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

/// A script of `benches/peers`.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers")
        .join(name)
}

/// PyTorch's process, which trains as many steps as a line on its input says.
#[derive(Debug)]
pub struct Torch {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Torch {
    /// Starts it; it says its version when it is ready.
    ///
    /// # Errors
    /// When it cannot be started, or ends.
    pub fn start(command: &mut Command) -> Result<Self, Box<dyn Error>> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", command.get_program().display()))?;
        let answers = BufReader::new(child.stdout.take().ok_or("no standard output")?);
        let mut torch = Self { child, answers };
        let ready = torch.answer()?;
        println!("PyTorch {}", ready["ready"].as_str().unwrap_or("?"));
        Ok(torch)
    }

    fn answer(&mut self) -> Result<Value, Box<dyn Error>> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Trains `n` steps, and gives back what it measured.
    ///
    /// # Errors
    /// When it has ended or says something else.
    pub fn turn(&mut self, n: usize) -> Result<Value, Box<dyn Error>> {
        let input = self.child.stdin.as_mut().ok_or("no standard input")?;
        writeln!(input, "{n}")?;
        input.flush()?;
        self.answer()
    }
}

impl Drop for Torch {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
