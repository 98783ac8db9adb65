use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use refrain::data::Interactions;
use serde::de::DeserializeOwned;

/// A rival in a process of its own: one line per turn in, one line of JSON out.
#[derive(Debug)]
pub struct Peer {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    folder: PathBuf,
}

impl Peer {
    /// Starts `script` of `benches/peers` on the log, which it finds in its folder by user: ends.i64
    /// (where each user's items end), rows.i32 (the items) and weights.f32. `blas_threads` are for
    /// its linear algebra.
    ///
    /// # Errors
    /// When the folder cannot be written or Python not be started.
    pub fn start(
        python: &Path,
        script: &str,
        threads: usize,
        blas_threads: usize,
        log: &Interactions,
    ) -> Result<Self, Box<dyn Error>> {
        let folder = std::env::temp_dir().join(format!("{script}-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let mut rows = BufWriter::new(File::create(folder.join("rows.i32"))?);
        let mut ends = BufWriter::new(File::create(folder.join("ends.i64"))?);
        let mut values = BufWriter::new(File::create(folder.join("weights.f32"))?);
        let mut end = 0i64;
        for user in 0..log.n_users() as u32 {
            let (items, weights) = log.user_items(user);
            for (item, weight) in items.iter().zip(weights) {
                rows.write_all(&item.to_le_bytes())?;
                values.write_all(&weight.to_le_bytes())?;
            }
            end += items.len() as i64;
            ends.write_all(&end.to_le_bytes())?;
        }
        rows.flush()?;
        ends.flush()?;
        values.flush()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("peers")
            .join(script);
        let blas_threads = blas_threads.to_string();
        let mut process = Command::new(python)
            .arg(script)
            .arg(&folder)
            .args([
                "--threads",
                &threads.to_string(),
                "--items",
                &log.n_items().to_string(),
            ])
            .env("OPENBLAS_NUM_THREADS", &blas_threads)
            .env("MKL_NUM_THREADS", &blas_threads)
            .env_remove("OPENBLAS_CORETYPE")
            .env_remove("OPENBLAS_L2_SIZE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", python.display()))?;
        let input = process.stdin.take().ok_or("no standard input")?;
        let output = BufReader::new(process.stdout.take().ok_or("no standard output")?);
        Ok(Self {
            process,
            input,
            output,
            folder,
        })
    }

    /// Where the log lies, and where the rival may write; it is removed at the end.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// One turn: sends a line and reads what it measured.
    ///
    /// # Errors
    /// When the rival has ended or says something else.
    pub fn turn<T: DeserializeOwned>(&mut self, line: &str) -> Result<T, Box<dyn Error>> {
        writeln!(self.input, "{line}")?;
        self.input.flush()?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        if answer.is_empty() {
            return Err(format!("the rival ended: {}", self.process.wait()?).into());
        }
        Ok(serde_json::from_str(&answer)?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It is waiting for a line, or has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
