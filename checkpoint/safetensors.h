// Files of Hugging Face's safetensors format: u64 header length (little endian) | JSON header | data. The header
// maps each name to {"dtype", "shape", "data_offsets": [begin, end)}, offsets counted from the end of the header.
// (https://huggingface.co/docs/safetensors)
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/input_file.h"
#include "base/shape.h"

namespace trine {

// The element types of the format that Trine reads; more than DType, because files hold more
// than tensors of a graph.
enum class SafeType : uint8_t { kF64, kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU64, kU32, kU16, kU8, kBool };
int64_t size_bytes(SafeType type);
std::string_view name(SafeType type);  // "F32", as in the files
SafeType safe_type(DType dtype);

// Row-major, little endian: in memory, or in a file that is read when its values are asked for.
struct SafeTensor {
  SafeType type = SafeType::kF32;
  Shape shape;
  std::span<const std::byte> bytes = {};  // in memory, of any alignment
  std::shared_ptr<const InputFile> file = nullptr;
  int64_t begin = 0;  // in `file`, bytes
};

// A file that is open for reading. Its tensors stay readable when this object is gone.
class SafetensorsFile {
 public:
  // Checks the whole header: its length, JSON, known types, shapes that match their bytes, data without overlap,
  // hole or end past the file. DataError naming file and tensor.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_->path(); }
  const std::map<std::string, SafeTensor>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool contains(const std::string& name) const { return tensors_.contains(name); }
  const SafeTensor& tensor(const std::string& name) const;  // DataError if it is not there

 private:
  std::shared_ptr<const InputFile> file_;
  std::map<std::string, SafeTensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

// Elements [begin, begin + out.size()) of the flattened tensor, converted as a cast does (numbers that do not fit
// in an integer are an error of the caller). For T = float, double, int32_t, int64_t.
// DataError if the file was cut.
template <typename T>
void copy_values(const SafeTensor& tensor, int64_t begin, std::span<T> out);

template <typename T>
std::vector<T> to_vector(const SafeTensor& tensor) {
  std::vector<T> values(static_cast<size_t>(tensor.shape.num_elements()));
  copy_values<T>(tensor, 0, values);
  return values;
}

struct SafetensorsEntry {
  std::string name;
  SafeTensor tensor;
};

// Writes the tensors in the order of their names, data from a multiple of 8 bytes on; the file appears whole or not
// at all. REQUIRES: distinct names, bytes that match type and shape.
void write_safetensors(const std::filesystem::path& path, std::vector<SafetensorsEntry> entries,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

// The same for tensors that are not in memory: `entries` without bytes, and `write_data` is asked for the bytes of
// one after another, in the order of their names.
using SafetensorsSink = std::function<void(std::span<const std::byte>)>;
void write_safetensors(const std::filesystem::path& path, std::vector<SafetensorsEntry> entries,
                       const std::function<void(const SafetensorsEntry&, const SafetensorsSink&)>& write_data,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace trine
