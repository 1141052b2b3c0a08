//! Files that people hand over in pieces (`run --playbook`): put together in
//! memory, bounded, forgotten when nothing comes any more.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use infraflow_core::limits::ByteCount;

use crate::api::types::UploadPiece;

/// Uploads at the same time; one more pushes the oldest out.
const UPLOADS_MAX: usize = 4;

/// An upload of which no piece came for so long is forgotten.
const PATIENCE: Duration = Duration::from_secs(60);

/// Uploads that have begun.
#[derive(Default)]
pub(crate) struct Uploads(Mutex<HashMap<String, Upload>>);

struct Upload {
    bytes: Vec<u8>,
    touched: Instant,
}

impl Uploads {
    /// Takes a piece, and gives the whole after the last one. A piece that came
    /// already is no error.
    pub(crate) fn take(
        &self,
        piece: &UploadPiece,
        bytes: &[u8],
        bytes_max: ByteCount,
    ) -> Result<Option<Vec<u8>>, String> {
        if piece.upload.is_empty() || piece.upload.len() > 64 {
            return Err("the upload's name is empty or too long".to_owned());
        }
        let mut uploads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        uploads.retain(|_, upload| upload.touched.elapsed() < PATIENCE);
        if !uploads.contains_key(&piece.upload) {
            make_room(&mut uploads);
        }
        let upload = uploads
            .entry(piece.upload.clone())
            .or_insert_with(|| Upload {
                bytes: vec![],
                touched: Instant::now(),
            });
        upload.touched = Instant::now();
        let offset = usize::try_from(piece.offset).map_err(|error| error.to_string())?;
        if offset > upload.bytes.len() {
            return Err(format!(
                "a piece at {offset} where {} bytes are there: start the upload again",
                upload.bytes.len()
            ));
        }
        if offset.saturating_add(bytes.len()) > bytes_max.to_usize() {
            uploads.remove(&piece.upload);
            return Err(format!("the files have more than {bytes_max}, compressed"));
        }
        upload.bytes.truncate(offset);
        upload.bytes.extend_from_slice(bytes);
        if !piece.last {
            return Ok(None);
        }
        Ok(uploads.remove(&piece.upload).map(|upload| upload.bytes))
    }
}

fn make_room(uploads: &mut HashMap<String, Upload>) {
    while uploads.len() >= UPLOADS_MAX {
        let oldest = uploads
            .iter()
            .min_by_key(|(_, upload)| upload.touched)
            .map(|(name, _)| name.clone());
        match oldest {
            Some(name) => drop(uploads.remove(&name)),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(upload: &str, offset: u64, last: bool) -> UploadPiece {
        UploadPiece {
            upload: upload.into(),
            offset,
            last,
        }
    }

    const MAX: ByteCount = ByteCount(10);

    #[test]
    fn pieces_become_a_whole() {
        let uploads = Uploads::default();
        assert_eq!(uploads.take(&piece("a", 0, false), b"abc", MAX), Ok(None));
        // The same piece again, as after a lost answer.
        assert_eq!(uploads.take(&piece("a", 0, false), b"abc", MAX), Ok(None));
        assert_eq!(
            uploads.take(&piece("b", 0, true), b"x", MAX),
            Ok(Some(b"x".to_vec()))
        );
        assert_eq!(
            uploads.take(&piece("a", 3, true), b"de", MAX),
            Ok(Some(b"abcde".to_vec()))
        );
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let uploads = Uploads::default();
        assert!(uploads.take(&piece("a", 5, false), b"x", MAX).is_err());
        assert!(uploads.take(&piece("", 0, false), b"x", MAX).is_err());
        let error = uploads
            .take(&piece("a", 0, true), &[0; 11], MAX)
            .unwrap_err();
        assert_eq!(error, "the files have more than 10 bytes, compressed");
        for name in ["1", "2", "3", "4", "5", "6"] {
            assert_eq!(uploads.take(&piece(name, 0, false), b"x", MAX), Ok(None));
        }
        assert!(uploads.0.lock().unwrap().len() <= UPLOADS_MAX);
    }
}
