#include "checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <type_traits>
#include <utility>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/json.h"

namespace trine {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // of the reference implementation
constexpr size_t kDataAlignment = 8, kBlockElements = size_t{1} << 16;

struct TypeInfo {
  std::string_view name;
  int64_t size_bytes;
};
constexpr std::array<TypeInfo, 13> kTypes = {{{"F64", 8},
                                              {"F32", 4},
                                              {"F16", 2},
                                              {"BF16", 2},
                                              {"I64", 8},
                                              {"I32", 4},
                                              {"I16", 2},
                                              {"I8", 1},
                                              {"U64", 8},
                                              {"U32", 4},
                                              {"U16", 2},
                                              {"U8", 1},
                                              {"BOOL", 1}}};

std::optional<SafeType> parse_type(std::string_view text) {
  for (size_t i = 0; i < kTypes.size(); ++i) {
    if (kTypes[i].name == text) return static_cast<SafeType>(i);
  }
  return std::nullopt;
}

template <typename... Args>
DataError broken(const std::filesystem::path& file, fmt::format_string<Args...> format, Args&&... args) {
  return DataError(fmt::format("[safetensors] {}: {}. The file is damaged or incomplete: fetch it again.",
                               file.string(), fmt::format(format, std::forward<Args>(args)...)));
}

// A JSON number that is an integer >= 0, else nothing.
std::optional<int64_t> count_of(const Json& json) {
  if (!json.is_number_integer()) return std::nullopt;
  if (json.is_number_unsigned() && json.get<uint64_t>() > uint64_t{INT64_MAX}) return std::nullopt;
  const auto value = json.get<int64_t>();
  return value < 0 ? std::nullopt : std::optional(value);
}

// Where a file's data begin, behind the header, and how many bytes they are.
struct DataRange {
  int64_t begin, size;
};

// {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]} -> a tensor inside `data`.
SafeTensor parse_tensor(const std::filesystem::path& file, const std::string& name, const Json& json,
                        DataRange data) {
  if (!json.is_object() || !json.contains("dtype") || !json.contains("shape") || !json.contains("data_offsets") ||
      !json["dtype"].is_string() || !json["shape"].is_array() || !json["data_offsets"].is_array() ||
      json["data_offsets"].size() != 2) {
    throw broken(file, "tensor {} is not described by dtype, shape and two data_offsets", name);
  }
  const auto type_name = json["dtype"].get<std::string>();
  const auto type = parse_type(type_name);
  if (!type) {
    throw DataError(
        fmt::format("[safetensors] {}: tensor {} has dtype {}, need F32, BF16, F16 or another plain type. "
                    "Convert the model first.",
                    file.string(), name, type_name));
  }
  int64_t bytes = size_bytes(*type);
  std::vector<int64_t> extents;
  for (const Json& extent : json["shape"]) {
    const auto value = count_of(extent);
    if (!value || __builtin_mul_overflow(bytes, *value, &bytes)) {
      throw broken(file, "shape of tensor {} is {}, need integers >= 0 of a possible size", name,
                   json["shape"].dump());
    }
    extents.push_back(*value);
  }
  const auto begin = count_of(json["data_offsets"][0]), end = count_of(json["data_offsets"][1]);
  if (!begin || !end || *begin > *end || *end > data.size) {
    throw broken(file, "data_offsets of tensor {} are {}, need a range inside the {} bytes of data", name,
                 json["data_offsets"].dump(), data.size);
  }
  if (*end - *begin != bytes) {
    throw broken(file, "tensor {} holds {} bytes, but {} of type {} needs {}", name, *end - *begin,
                 to_string(Shape(extents)), type_name, bytes);
  }
  return {.type = *type, .shape = Shape(extents), .begin = data.begin + *begin};
}

int64_t size_bytes(const SafeTensor& tensor) { return tensor.shape.num_elements() * size_bytes(tensor.type); }

// The data must be exactly the tensors side by side: no byte unaccounted for, none in two tensors.
void check_coverage(const std::filesystem::path& file, const std::map<std::string, SafeTensor>& tensors,
                    DataRange data) {
  struct Range {
    int64_t begin, size;
    std::string_view name;
  };
  std::vector<Range> ranges;
  for (const auto& [name, tensor] : tensors)
    ranges.push_back({tensor.begin - data.begin, size_bytes(tensor), name});
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& a, const Range& b) { return std::pair(a.begin, a.size) < std::pair(b.begin, b.size); });
  int64_t at = 0;
  for (const Range& range : ranges) {
    if (range.begin != at) {
      throw broken(file, "tensor {} begins at byte {} of the data, need {}, where the one before it ends",
                   range.name, range.begin, at);
    }
    at += range.size;
  }
  if (at != data.size) throw broken(file, "{} bytes of data, but the tensors end at {}", data.size, at);
}

template <typename Stored, typename T>
void convert(const std::byte* from, std::span<T> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    Stored value;
    std::memcpy(&value, from + i * sizeof value, sizeof value);
    if constexpr (std::is_same_v<Stored, BFloat16> || std::is_same_v<Stored, Float16>) {
      out[i] = static_cast<T>(to_float(value));
    } else {
      out[i] = static_cast<T>(value);
    }
  }
}

// Elements from byte `at` of the tensor on. What is in a file passes through a block, unless it is wanted as it is.
template <typename Stored, typename T>
void copy_from(const SafeTensor& tensor, int64_t at, std::span<T> out) {
  if (out.empty()) return;
  if (tensor.file == nullptr) return convert<Stored>(tensor.bytes.data() + at, out);
  if constexpr (std::is_same_v<Stored, T>) return tensor.file->read(tensor.begin + at, std::as_writable_bytes(out));
  std::vector<std::byte> block(std::min(out.size(), kBlockElements) * sizeof(Stored));
  for (; !out.empty(); out = out.subspan(block.size() / sizeof(Stored)), at += std::ssize(block)) {
    block.resize(std::min(out.size(), kBlockElements) * sizeof(Stored));
    tensor.file->read(tensor.begin + at, block);
    convert<Stored>(block.data(), out.first(block.size() / sizeof(Stored)));
  }
}

}  // namespace

int64_t size_bytes(SafeType type) { return kTypes[static_cast<size_t>(type)].size_bytes; }
std::string_view name(SafeType type) { return kTypes[static_cast<size_t>(type)].name; }

SafeType safe_type(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return SafeType::kF32;
    case DType::kBF16:
      return SafeType::kBF16;
    case DType::kF16:
      return SafeType::kF16;
    case DType::kI32:
      return SafeType::kI32;
    case DType::kI64:
      return SafeType::kI64;
    case DType::kU8:
      return SafeType::kU8;
  }
  TRINE_CHECK(false);
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : file_(std::make_shared<const InputFile>(path)) {
  uint64_t header_bytes = 0;
  const int64_t length_bytes = sizeof header_bytes, rest = file_->size() - length_bytes;
  if (rest < 0) throw broken(path, "{} bytes, need a header length of 8", file_->size());
  file_->read(0, std::as_writable_bytes(std::span(&header_bytes, 1)));
  if (header_bytes > kMaxHeaderBytes || static_cast<int64_t>(header_bytes) > rest) {
    throw broken(path, "a header of {} bytes in a file of {}, need at most {} and inside the file", header_bytes,
                 file_->size(), kMaxHeaderBytes);
  }
  std::string header(header_bytes, '\0');
  file_->read(length_bytes, std::as_writable_bytes(std::span(header)));
  const auto data_begin = length_bytes + static_cast<int64_t>(header_bytes);
  const DataRange data{data_begin, file_->size() - data_begin};
  const Json json = parse_json(header, path);
  if (!json.is_object()) throw broken(path, "the header is no JSON object");
  for (const auto& [name, value] : json.items()) {
    if (name == "__metadata__") {
      if (value.is_null()) continue;  // as the reference implementation takes it
      if (!value.is_object()) throw broken(path, "__metadata__ is no JSON object");
      for (const auto& [key, text] : value.items()) {
        if (!text.is_string()) throw broken(path, "__metadata__.{} is no string", key);
        metadata_[key] = text.get<std::string>();
      }
    } else {
      tensors_.emplace(name, parse_tensor(path, name, value, data)).first->second.file = file_;
    }
  }
  check_coverage(path, tensors_, data);
}

const SafeTensor& SafetensorsFile::tensor(const std::string& name) const {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) {
    throw DataError(fmt::format("[safetensors] {}: no tensor {} among {}. The file belongs to another model.",
                                path().string(), name, tensors_.size()));
  }
  return it->second;
}

template <typename T>
void copy_values(const SafeTensor& tensor, int64_t begin, std::span<T> out) {
  const int64_t size = tensor.shape.num_elements(), count = static_cast<int64_t>(out.size());
  TRINE_CHECK(0 <= begin && begin <= size && count <= size - begin, "elements [{}, {} + {}) of {}", begin, begin,
              count, size);
  const int64_t at = begin * size_bytes(tensor.type);
  switch (tensor.type) {
    case SafeType::kF64:
      return copy_from<double>(tensor, at, out);
    case SafeType::kF32:
      return copy_from<float>(tensor, at, out);
    case SafeType::kF16:
      return copy_from<Float16>(tensor, at, out);
    case SafeType::kBF16:
      return copy_from<BFloat16>(tensor, at, out);
    case SafeType::kI64:
      return copy_from<int64_t>(tensor, at, out);
    case SafeType::kI32:
      return copy_from<int32_t>(tensor, at, out);
    case SafeType::kI16:
      return copy_from<int16_t>(tensor, at, out);
    case SafeType::kI8:
      return copy_from<int8_t>(tensor, at, out);
    case SafeType::kU64:
      return copy_from<uint64_t>(tensor, at, out);
    case SafeType::kU32:
      return copy_from<uint32_t>(tensor, at, out);
    case SafeType::kU16:
      return copy_from<uint16_t>(tensor, at, out);
    case SafeType::kU8:
    case SafeType::kBool:
      return copy_from<uint8_t>(tensor, at, out);
  }
}
template void copy_values<float>(const SafeTensor&, int64_t, std::span<float>);
template void copy_values<double>(const SafeTensor&, int64_t, std::span<double>);
template void copy_values<int32_t>(const SafeTensor&, int64_t, std::span<int32_t>);
template void copy_values<int64_t>(const SafeTensor&, int64_t, std::span<int64_t>);

namespace {

// As JSON, without spaces; member by member, because a JSON object in the order of writing looks through all of its
// members for each new one.
std::string header_of(const std::vector<SafetensorsEntry>& entries,
                      const std::map<std::string, std::string>& metadata) {
  std::string text = "{";
  const auto add = [&](const std::string& key, const nlohmann::ordered_json& value) {
    text += (text.size() > 1 ? "," : "") + Json(key).dump() + ":" + value.dump();
  };
  if (!metadata.empty()) add("__metadata__", metadata);
  int64_t at = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    const auto& [name, tensor] = entries[i];
    TRINE_CHECK(i == 0 || entries[i - 1].name != name, "tensor {}", name);
    const int64_t end = at + size_bytes(tensor);
    add(name, {{"dtype", trine::name(tensor.type)},
               {"shape", std::vector<int64_t>(tensor.shape.begin(), tensor.shape.end())},
               {"data_offsets", {at, end}}});
    at = end;
  }
  return text + "}";
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, std::vector<SafetensorsEntry> entries,
                       const std::map<std::string, std::string>& metadata) {
  const auto bytes_of = [](const SafetensorsEntry& entry, const SafetensorsSink& sink) {
    sink(entry.tensor.bytes);
  };
  write_safetensors(path, std::move(entries), bytes_of, metadata);
}

void write_safetensors(const std::filesystem::path& path, std::vector<SafetensorsEntry> entries,
                       const std::function<void(const SafetensorsEntry&, const SafetensorsSink&)>& write_data,
                       const std::map<std::string, std::string>& metadata) {
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  std::string text = header_of(entries, metadata);
  text.resize((text.size() + kDataAlignment - 1) / kDataAlignment * kDataAlignment,
              ' ');  // the format allows spaces
  const uint64_t header_bytes = text.size();
  AtomicFile file(path);
  file.write(&header_bytes, sizeof header_bytes);
  file.write(text);
  int64_t end = file.size();
  for (const auto& entry : entries) {
    write_data(entry, [&](std::span<const std::byte> bytes) { file.write(bytes.data(), bytes.size()); });
    end += size_bytes(entry.tensor);
    TRINE_CHECK(file.size() == end, "tensor {}: {} bytes too many", entry.name, file.size() - end);
  }
  file.commit();
}

}  // namespace trine
