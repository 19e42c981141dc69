//! Samples for people: the pictures of a view, and the same as one PNG.

use image::{ColorType, ImageEncoder, codecs::png::PngEncoder};
use kiln_protocol::view::{Images, Picture};
use tch::{Device, Tensor};

use crate::error::{MethodError, Result};

/// Samples of a sheet, as a square of [`COLUMNS`].
pub const SAMPLES: i64 = 64;
const COLUMNS: usize = 8;

/// Bytes of pixels that a view may carry: every one of them goes into the run's events.
const VIEW_BYTES: usize = 72_000;

/// Samples, channel by channel as tensors have them.
pub struct Sheet {
    channels: usize,
    height: usize,
    width: usize,
    /// A sample after the other, channels next to each other.
    pixels: Vec<u8>,
}

impl Sheet {
    /// Of images u8 `[n, c, h, w]` with one or three channels; of others only the first channel is shown.
    pub fn of(images: &Tensor) -> Result<Sheet> {
        let sheet = || -> std::result::Result<Sheet, tch::TchError> {
            let (_, c, h, w) = images.size4()?;
            let shown = if c == 3 { 3 } else { 1 };
            let rows =
                images.f_narrow(1, 0, shown)?.f_permute([0, 2, 3, 1])?.f_contiguous()?.f_to_device(Device::Cpu)?;
            let mut pixels = vec![0; rows.numel()];
            rows.f_copy_data_u8(&mut pixels, rows.numel())?;
            Ok(Sheet { channels: shown as usize, height: h as usize, width: w as usize, pixels })
        };
        sheet().map_err(MethodError::failed)
    }

    fn size(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// As many whole rows of the sheet as a view may carry.
    pub fn view(&self, title: String, note: String) -> Images {
        let shown = (VIEW_BYTES / self.size().max(1) / COLUMNS).max(1) * COLUMNS;
        let (w, h, c) = (self.width as u32, self.height as u32, self.channels as u32);
        let pictures = self.pixels.chunks_exact(self.size().max(1)).take(shown);
        let pictures = pictures.map(|bytes| Picture::new("", w, h, c, bytes)).collect();
        Images { title, pictures, columns: COLUMNS as u32, note }
    }

    /// The whole sheet as the bytes of a PNG, with a line of grey between samples.
    pub fn png(&self) -> Result<Vec<u8>> {
        let count = self.pixels.len() / self.size().max(1);
        let rows = count.div_ceil(COLUMNS);
        let (width, height) = (COLUMNS * (self.width + 1) + 1, rows * (self.height + 1) + 1);
        let mut canvas = vec![96; width * height * self.channels];
        for (i, sample) in self.pixels.chunks_exact(self.size().max(1)).enumerate() {
            let (left, top) = ((i % COLUMNS) * (self.width + 1) + 1, (i / COLUMNS) * (self.height + 1) + 1);
            for (y, line) in sample.chunks_exact(self.width * self.channels).enumerate() {
                let at = ((top + y) * width + left) * self.channels;
                canvas[at..at + line.len()].copy_from_slice(line);
            }
        }
        let colour = if self.channels == 3 { ColorType::Rgb8 } else { ColorType::L8 };
        let mut png = Vec::new();
        let written = PngEncoder::new(&mut png).write_image(&canvas, width as u32, height as u32, colour.into());
        written.map_err(|error| MethodError::failed(format!("the samples cannot be written as PNG: {error}")))?;
        Ok(png)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Kind;

    #[test]
    fn a_sheet_holds_every_sample_at_its_place() {
        let images = Tensor::arange(9 * 3 * 2 * 4, (Kind::Uint8, Device::Cpu)).view([9, 3, 2, 4]);
        let sheet = Sheet::of(&images).unwrap();
        let view = sheet.view("samples".into(), String::new());
        assert_eq!((view.pictures.len(), view.columns), (9, 8));
        let first = view.pictures[1].bytes().unwrap();
        let pixel = |n: i64, c: i64, y: i64, x: i64| images.int64_value(&[n, c, y, x]) as u8;
        assert_eq!(first[..3], [pixel(1, 0, 0, 0), pixel(1, 1, 0, 0), pixel(1, 2, 0, 0)]);
        let png = image::load_from_memory(&sheet.png().unwrap()).unwrap().into_rgb8();
        assert_eq!(png.dimensions(), (41, 7));
        // The ninth sample begins the second row.
        assert_eq!(png.get_pixel(1, 4).0, [pixel(8, 0, 0, 0), pixel(8, 1, 0, 0), pixel(8, 2, 0, 0)]);
        assert_eq!(png.get_pixel(0, 0).0, [96; 3]);
        assert_eq!(png.get_pixel(6 + 3, 2).0, [pixel(1, 0, 1, 3), pixel(1, 1, 1, 3), pixel(1, 2, 1, 3)]);
    }

    #[test]
    fn a_view_of_large_samples_carries_fewer_of_them() {
        let images = Tensor::zeros([64, 3, 32, 32], (Kind::Uint8, Device::Cpu));
        let view = Sheet::of(&images).unwrap().view(String::new(), String::new());
        assert_eq!(view.pictures.len(), 16);
        let images = Tensor::zeros([64, 1, 28, 28], (Kind::Uint8, Device::Cpu));
        assert_eq!(Sheet::of(&images).unwrap().view(String::new(), String::new()).pictures.len(), 64);
    }
}
