// HDF5's C API behind handles that close themselves, one lock, and errors that are ours.
//
// HDF5 is one library-wide state machine: thread-safe only if built so (Debian's is, by one lock around each call).
// Hdf5Lock is around every sequence of calls, so that any build will do; checksums and hashes are computed outside.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <hdf5.h>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <utility>

#include "base/dtype.h"
#include "checkpoint/file_io.h"

namespace trine {

// Holds the lock of the process and silences HDF5's own printing of errors. May be nested.
class Hdf5Lock {
 public:
  Hdf5Lock();

 private:
  std::scoped_lock<std::recursive_mutex> lock_;
};

// What HDF5 says of its last error, in one line.
std::string hdf5_error();

// An identifier of any kind. Move-only.
class H5Id {
 public:
  H5Id() = default;
  // DataError about `file` if `id` is not valid: "[checkpoint] FILE: WHAT failed: ...".
  H5Id(hid_t id, const std::filesystem::path& file, const char* what);
  H5Id(H5Id&& other) noexcept : id_(std::exchange(other.id_, H5I_INVALID_HID)) {}
  H5Id& operator=(H5Id&& other) noexcept {
    std::swap(id_, other.id_);
    return *this;
  }
  ~H5Id() { close(); }
  void close();
  // Gives it up: the caller closes it.
  hid_t release() { return std::exchange(id_, H5I_INVALID_HID); }
  operator hid_t() const { return id_; }

 private:
  hid_t id_ = H5I_INVALID_HID;
};
// DataError likewise if `status` is negative.
void h5_check(herr_t status, const std::filesystem::path& file, const char* what);

// A list of properties to create a file, group or dataset with: without the time of day, so that the same contents
// are the same bytes.
H5Id without_times(hid_t list_class, const std::filesystem::path& file);

H5Id file_type(DType dtype);  // as in files, little endian

// HDF5 on top of a File (a virtual file driver). The first error of writing is kept and everything after it
// dropped, so that HDF5, which cannot give up a file it fails to write, always closes cleanly;
// error() then says what happened.
class H5File {
 public:
  // An empty one over a file just created. Metadata stay in memory until close().
  static H5File create(File& file);
  static H5File open(File& file);  // for reading
  H5File(H5File&&) noexcept = default;

  operator hid_t() const { return id_; }
  // Writes what is left. The kept error, or what HDF5 says, is thrown.
  void close();
  void throw_if_failed() const;

 private:
  struct State {
    File* file = nullptr;
    std::exception_ptr error;
  };
  H5File(File& file, bool write);
  friend struct H5Driver;

  std::unique_ptr<State> state_;
  H5Id id_;
};

void write_attribute(hid_t object, const std::filesystem::path& file, const char* name,
                     std::span<const int64_t> values);
void write_attribute(hid_t object, const std::filesystem::path& file, const char* name, const std::string& text);

}  // namespace trine
