// A text file or standard input, read in blocks; what is packed with gzip is unpacked on the way.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "base/error.h"

namespace trine {

class TextReader {
 public:
  // "-" is `standard_input`. DataError if the file cannot be opened.
  TextReader(const std::string& path, std::FILE* standard_input);
  ~TextReader();
  TextReader(const TextReader&) = delete;

  static constexpr size_t kBlockBytes = size_t{1} << 20;
  // A block of kBlockBytes, less only at the end; false, and an empty one, behind it. DataError for a disk or a
  // packed file that is broken, and for contents that are no text but a known kind of archive.
  bool read(std::string& block);
  int64_t bytes_read() const { return bytes_read_; }  // of the file as it lies there
  const std::string& name() const { return name_; }

  DataError error(const std::string& what) const { return DataError(fmt::format("[data] {}: {}.", name_, what)); }
  DataError error(int64_t line, const std::string& what) const {
    return DataError(fmt::format("[data] {}:{}: {}.", name_, line, what));
  }

 private:
  struct Unpacker;
  void read_raw(std::string& block);
  void unpack(std::string& block);

  std::string name_;
  bool at_begin_ = true;
  int64_t bytes_read_ = 0;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  std::unique_ptr<Unpacker> unpacker_;  // null: the file is not packed
};

}  // namespace trine
