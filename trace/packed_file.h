// A file that is read from begin to end, unpacked where it is a gzip file (by its first bytes, not by its name).
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "base/input_file.h"

namespace trine {

class PackedFile {
 public:
  // DataError, IoError as InputFile.
  explicit PackedFile(const std::filesystem::path& path);
  ~PackedFile();
  // Puts the next bytes into `to` and returns how many; 0 at the end. DataError if compressed data is damaged or
  // ends too early.
  size_t read(std::span<char> to);

 private:
  struct Inflater;
  size_t read_raw(std::span<char> to);

  InputFile file_;
  int64_t at_ = 0;
  std::unique_ptr<Inflater> inflater_;  // none: plain
};

}  // namespace trine
