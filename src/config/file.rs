//! Reading the files that a configuration is made of.

use std::io::Read;
use std::path::Path;

/// Largest file that is read: a configuration, a `${file:}` value, a certificate, a CA bundle.
pub(super) const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// Why a file could not be read as text.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("not found")]
    NotFound,
    #[error("it is larger than 4 MiB")]
    TooLarge,
    #[error("it is not a file")]
    NotAFile,
    #[error("it is not UTF-8 text (byte {0})")]
    NotText(usize),
    #[error("{0}")]
    Io(std::io::Error),
}

impl From<std::io::Error> for ReadError {
    fn from(e: std::io::Error) -> Self {
        if e.kind() == std::io::ErrorKind::NotFound {
            Self::NotFound
        } else {
            Self::Io(e)
        }
    }
}

/// The text of a regular file of at most [`MAX_BYTES`].
pub(super) fn read(path: &Path) -> Result<String, ReadError> {
    String::from_utf8(read_bytes(path)?)
        .map_err(|e| ReadError::NotText(e.utf8_error().valid_up_to()))
}

/// What a regular file of at most [`MAX_BYTES`] holds.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, ReadError> {
    // Asked before opening: opening a pipe would wait for its writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(ReadError::NotAFile);
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ReadError::TooLarge);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_a_small_text_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        assert!(matches!(read(&path), Err(ReadError::NotFound)));
        assert!(matches!(read(dir.path()), Err(ReadError::NotAFile)));
        std::fs::write(&path, b"ab\xff").unwrap();
        assert!(matches!(read(&path), Err(ReadError::NotText(2))));
        std::fs::write(&path, vec![b'a'; MAX_BYTES as usize]).unwrap();
        assert_eq!(read(&path).unwrap().len(), MAX_BYTES as usize);
        std::fs::write(&path, vec![b'a'; MAX_BYTES as usize + 1]).unwrap();
        assert!(matches!(read(&path), Err(ReadError::TooLarge)));
    }
}
