// TensorBoard's event file: Event messages (TensorFlow's event.proto) in TFRecord frames, both encoded by hand.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/output_file.h"

namespace trine {

class EventFile {
 public:
  struct Scalar {
    std::string tag;
    double value;  // stored as f32, as TensorBoard has it
  };

  // The newest event file of `folder` (which is made), or a new one. With `resumed_step` its events of that step
  // and before are kept and it goes on; else it begins anew.
  explicit EventFile(const std::filesystem::path& folder, std::optional<int64_t> resumed_step = std::nullopt);

  // One event, written whole or not at all: see OutputFile.
  void write(int64_t step, double time_unix_s, std::span<const Scalar> scalars);

  OutputFile& file() { return file_; }

 private:
  OutputFile file_;
  std::string unwritten_;  // the version, until it is in the file
};

// A TFRecord frame: length (u64, little endian), masked CRC-32C of those 8 bytes, data, masked CRC-32C of the data.
std::string framed(std::string_view data);
// CRC-32C (Castagnoli), rotated right by 15 and shifted by a constant, as TFRecord masks it.
uint32_t masked_crc32c(std::string_view data);

}  // namespace trine
