use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;

use super::*;

const LONG: Duration = Duration::from_secs(20);

fn file_writer() -> (tempfile::TempDir, PathBuf, LineWriter) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let writer = LineWriter::spawn(Target::File(path.clone())).unwrap();
    (folder, path, writer)
}

/// A writer into a pipe that nobody reads yet.
fn pipe_writer(max_lines: usize) -> (io::PipeReader, LineWriter) {
    let (reader, end) = io::pipe().unwrap();
    let file = File::from(OwnedFd::from(end));
    (
        reader,
        LineWriter::start(Target::Stdout, file, max_lines).unwrap(),
    )
}

#[test]
fn flush_means_written_in_order() {
    let (_folder, path, writer) = file_writer();
    for number in 0..1000 {
        writer.write(format!("line {number}").into_bytes());
    }
    assert!(writer.flush(LONG));
    let text = fs::read_to_string(path).unwrap();
    let expected: Vec<String> = (0..1000).map(|number| format!("line {number}")).collect();
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    assert_eq!(writer.dropped(), 0);
}

#[test]
fn lines_of_many_threads_stay_whole() {
    let (_folder, path, writer) = file_writer();
    thread::scope(|scope| {
        for name in ["a", "b", "c", "d"] {
            let writer = writer.clone();
            scope.spawn(move || {
                for _ in 0..500 {
                    let mut line = writer.buffer();
                    line.extend_from_slice(name.repeat(100).as_bytes());
                    writer.write(line);
                }
            });
        }
    });
    assert!(writer.flush(LONG));
    let text = fs::read_to_string(path).unwrap();
    assert_eq!(text.lines().count(), 2000);
    assert!(
        text.lines()
            .all(|line| line.len() == 100 && line.bytes().all(|byte| byte == line.as_bytes()[0]))
    );
}

#[test]
fn a_reader_that_hangs_costs_lines_and_no_time() {
    let (mut reader, writer) = pipe_writer(64);
    for _ in 0..5000 {
        writer.write(vec![b'x'; 1024]);
    }
    assert!(
        writer.dropped() > 0,
        "5 MB can't fit into a pipe and 64 lines"
    );
    assert!(
        !writer.flush(Duration::from_millis(20)),
        "nobody reads: this can't be flushed"
    );

    let dropped = writer.dropped();
    drop(writer);
    let mut text = Vec::new();
    reader.read_to_end(&mut text).unwrap();
    assert_eq!(
        text.len() as u64,
        (5000 - dropped) * 1025,
        "every line is written or counted"
    );
}

#[test]
fn bytes_are_bounded_too() {
    let (_reader, writer) = pipe_writer(MAX_LINES);
    for _ in 0..20 {
        writer.write(vec![b'x'; 1 << 20]);
    }
    assert!(writer.dropped() >= 10, "{} dropped", writer.dropped());
    assert!(writer.0.shared.queued_bytes.load(Ordering::Relaxed) <= MAX_BYTES);
}

#[test]
fn a_reader_that_is_gone_is_counted() {
    let (reader, writer) = pipe_writer(64);
    drop(reader);
    writer.write(b"lost".to_vec());
    assert!(writer.flush(LONG));
    assert_eq!(writer.dropped(), 1);
}

#[test]
fn reopen_follows_a_rotated_file() {
    let (folder, path, writer) = file_writer();
    writer.write(b"old".to_vec());
    assert!(writer.flush(LONG));
    let rotated = folder.path().join("access.log.1");
    fs::rename(&path, &rotated).unwrap();
    writer.reopen();
    writer.write(b"new".to_vec());
    assert!(writer.flush(LONG));
    assert_eq!(fs::read_to_string(rotated).unwrap(), "old\n");
    assert_eq!(fs::read_to_string(path).unwrap(), "new\n");
}

#[test]
fn buffers_are_used_again() {
    let (_folder, _path, writer) = file_writer();
    let mut line = writer.buffer();
    line.extend_from_slice(&[b'x'; 2000]);
    writer.write(line);
    assert!(writer.flush(LONG));
    let again = writer.buffer();
    assert!(again.is_empty() && again.capacity() >= 2000);
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error() {
    assert!(LineWriter::spawn(Target::File("/nonexistent/folder/access.log".into())).is_err());
}
