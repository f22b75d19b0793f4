// A file that grows by whole pieces while training runs. A full disk must not stop a training that lasts days, so
// nothing here throws: the first failure is kept, and the program reports it once and in its exit code.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace trine {

class OutputFile {
 public:
  // Makes the file, or cuts it to its first `kept_bytes`, and the folders above it; a link of that name is a
  // failure. REQUIRES: it has as many.
  explicit OutputFile(std::filesystem::path path, int64_t kept_bytes = 0);
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;
  ~OutputFile();

  // Appends `text` with one write(2). On failure nothing of it stays in the file; a later call tries again.
  bool append(std::string_view text) { return write_from(size_, text); }
  // Everything from `offset` on becomes `text`; on failure, nothing. REQUIRES: 0 <= offset <= size().
  bool write_from(int64_t offset, std::string_view text);

  int64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }
  bool failed() const { return !error_.empty(); }  // ever
  // The warning about the first failure, the first time that it is asked for.
  std::optional<std::string> take_warning();

 private:
  bool fail(const char* what);  // errno says why
  bool fail(const char* what, const std::string& reason);

  std::filesystem::path path_;
  int fd_ = -1;
  int64_t size_ = 0;
  std::string error_;
  bool reported_ = false;
};

}  // namespace trine
