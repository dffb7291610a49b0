//! A line writer that never blocks its callers: lines go into a bounded queue, a thread of its own writes them in batches,
//! and what doesn't fit is dropped and counted.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam_queue::ArrayQueue;

/// Lines that may wait.
const MAX_LINES: usize = 8192;
/// Bytes that may wait, over all lines.
const MAX_BYTES: usize = 8 << 20;
/// Bytes handed over in one write call.
const BATCH_BYTES: usize = 128 << 10;
/// Buffers kept for further lines, and the largest one that is kept.
const SPARE_BUFFERS: usize = 1024;
const SPARE_BUFFER_BYTES: usize = 4096;
/// How long lines are gathered before they are written: one wake-up serves many lines.
const GATHER: Duration = Duration::from_millis(5);
/// Longest sleep of an idle thread, in case a wake-up got lost.
const IDLE: Duration = Duration::from_secs(1);

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Standard output of the process.
    Stdout,
    /// Standard error of the process.
    Stderr,
    /// Appended to; made if missing.
    File(PathBuf),
}

/// A handle to the queue; clones share it. The thread ends, with everything written, once the last one is dropped.
#[derive(Clone)]
pub struct LineWriter(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    thread: Thread,
}

struct Shared {
    lines: ArrayQueue<Vec<u8>>,
    spare: ArrayQueue<Vec<u8>>,
    queued_bytes: AtomicUsize,
    dropped: AtomicU64,
    /// The thread sleeps until it is woken.
    idle: AtomicBool,
    reopen: AtomicBool,
    closed: AtomicBool,
    flush_asked: AtomicU64,
    flush_done: Mutex<u64>,
    flushed: Condvar,
}

impl LineWriter {
    /// Opens the target and starts the thread. Fails when the file can't be opened or no thread can be had.
    pub fn spawn(target: Target) -> io::Result<Self> {
        let file = open(&target)?;
        Self::start(target, file, MAX_LINES)
    }

    fn start(target: Target, file: File, max_lines: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared::new(max_lines));
        let drain = Drain {
            shared: Arc::clone(&shared),
            target,
            file,
            batch: Vec::with_capacity(BATCH_BYTES),
        };
        let thread = thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || drain.run())?;
        Ok(Self(Arc::new(Handle {
            shared,
            thread: thread.thread().clone(),
        })))
    }

    /// An empty buffer to make a line in, reused from lines that were written.
    #[must_use]
    pub fn buffer(&self) -> Vec<u8> {
        self.0
            .shared
            .spare
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(1024))
    }

    /// Queues one line, without its line end. Never waits: with the queue full the line is dropped and counted.
    pub fn write(&self, mut line: Vec<u8>) {
        line.push(b'\n');
        let shared = &self.0.shared;
        let size = line.len();
        let fits = shared.queued_bytes.fetch_add(size, Ordering::Relaxed) + size <= MAX_BYTES;
        if !fits || shared.lines.push(line).is_err() {
            shared.queued_bytes.fetch_sub(size, Ordering::Relaxed);
            shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
        // Sequentially consistent, as in `Drain::rest`: either this sees the thread idle or the thread sees the line.
        if shared.idle.load(Ordering::SeqCst) && shared.idle.swap(false, Ordering::SeqCst) {
            self.0.thread.unpark();
        }
    }

    /// Lines lost since the start: to a full queue or to a target that couldn't be written.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits until every line queued before this call is written; false when that took longer than `timeout`.
    /// Blocks its thread: for shutdown, not for requests.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> bool {
        let shared = &self.0.shared;
        let mine = shared.flush_asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.thread.unpark();
        let done = shared
            .flush_done
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let waited = shared
            .flushed
            .wait_timeout_while(done, timeout, |done| *done < mine);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Opens a file target anew before the next write, for rotation. If that fails, the old file is kept.
    pub fn reopen(&self) {
        self.0.shared.reopen.store(true, Ordering::SeqCst);
        self.0.thread.unpark();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl Shared {
    fn new(max_lines: usize) -> Self {
        Self {
            lines: ArrayQueue::new(max_lines),
            spare: ArrayQueue::new(SPARE_BUFFERS),
            queued_bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            idle: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            flush_asked: AtomicU64::new(0),
            flush_done: Mutex::new(0),
            flushed: Condvar::new(),
        }
    }
}

/// The thread's side.
struct Drain {
    shared: Arc<Shared>,
    target: Target,
    file: File,
    batch: Vec<u8>,
}

impl Drain {
    fn run(mut self) {
        loop {
            // Read before draining: what was queued before these were set is then written.
            let closed = self.shared.closed.load(Ordering::SeqCst);
            let flush = self.shared.flush_asked.load(Ordering::SeqCst);
            if self.shared.reopen.swap(false, Ordering::SeqCst) {
                self.reopen();
            }
            let wrote = self.write_queued();
            self.report_flush(flush);
            if closed {
                return;
            }
            self.rest(wrote, flush);
        }
    }

    /// Writes what is in the queue: one queue length at most, so that a flush ends under load too.
    fn write_queued(&mut self) -> bool {
        let mut left = self.shared.lines.capacity();
        let before = left;
        while left > 0 && !self.shared.lines.is_empty() {
            let lines = self.gather_batch(left);
            left -= lines;
            if write_fully(&mut self.file, &self.batch, &self.shared.closed).is_err() {
                self.shared
                    .dropped
                    .fetch_add(lines as u64, Ordering::Relaxed);
            }
            self.batch.clear();
        }
        left < before
    }

    fn gather_batch(&mut self, max_lines: usize) -> usize {
        let mut lines = 0;
        while lines < max_lines && self.batch.len() < BATCH_BYTES {
            let Some(mut line) = self.shared.lines.pop() else {
                break;
            };
            self.batch.extend_from_slice(&line);
            self.shared
                .queued_bytes
                .fetch_sub(line.len(), Ordering::Relaxed);
            lines += 1;
            if line.capacity() <= SPARE_BUFFER_BYTES {
                line.clear();
                let _ = self.shared.spare.push(line);
            }
        }
        lines
    }

    fn report_flush(&self, reached: u64) {
        let mut done = self
            .shared
            .flush_done
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *done < reached {
            *done = reached;
            self.shared.flushed.notify_all();
        }
    }

    /// Under load: a short rest, so that the next write serves many lines. Else until a line wakes it, and then that rest.
    fn rest(&self, wrote: bool, flush: u64) {
        if wrote {
            thread::park_timeout(GATHER);
            return;
        }
        self.shared.idle.store(true, Ordering::SeqCst);
        let work = !self.shared.lines.is_empty()
            || self.shared.flush_asked.load(Ordering::SeqCst) != flush;
        if !work {
            thread::park_timeout(IDLE);
        }
        let woken_by_line = !self.shared.idle.swap(false, Ordering::SeqCst);
        if woken_by_line {
            thread::park_timeout(GATHER);
        }
    }

    fn reopen(&mut self) {
        let Target::File(path) = &self.target else {
            return;
        };
        match open_file(path) {
            Ok(file) => self.file = file,
            Err(error) => log::error!(
                "{} can't be opened anew, the old file is kept: {error}",
                path.display()
            ),
        }
    }
}

fn open(target: &Target) -> io::Result<File> {
    match target {
        Target::Stdout => Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
        Target::Stderr => Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?)),
        Target::File(path) => open_file(path),
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// `write_all` that also gets on with a pipe set to non-blocking by someone else who shares it.
fn write_fully(file: &mut File, mut bytes: &[u8], closed: &AtomicBool) -> io::Result<()> {
    let started = Instant::now();
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if closed.load(Ordering::SeqCst) && started.elapsed() > IDLE {
                    return Err(error);
                }
                thread::park_timeout(GATHER);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
