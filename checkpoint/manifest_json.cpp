// The text form of manifests and parts.
#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/file_io.h"
#include "checkpoint/hash.h"
#include "checkpoint/manifest.h"

namespace trine {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr const char* kFormat = "trine-checkpoint";
constexpr int64_t kVersion = 1;
constexpr int64_t kMaxManifestBytes = int64_t{1} << 30;
constexpr size_t kMaxPieces = 1 << 14;  // of a tensor: their overlaps are searched
constexpr std::string_view kHashBegin = "\"hash\": \"", kHashEnd = "\"}\n";
constexpr size_t kHashBytes = kHashBegin.size() + 16 + kHashEnd.size();

// One line per field, and per element of a list.
std::string seal(const OrderedJson& json) {
  const auto dump = [](const OrderedJson& value) {
    return value.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
  };
  std::string text = "{";
  for (const auto& [key, value] : json.items()) {
    text += fmt::format("\"{}\": ", key);
    if (value.is_array()) {
      text += "[";
      for (size_t i = 0; i < value.size(); ++i) text += (i > 0 ? ",\n " : "\n ") + dump(value[i]);
      text += "]";
    } else {
      text += dump(value);
    }
    text += ",\n";
  }
  return text + std::string(kHashBegin) + hex(xxh3(text)) + std::string(kHashEnd);
}

OrderedJson file_json(const std::vector<FileEntry>& files) {
  OrderedJson list = OrderedJson::array();
  for (const FileEntry& file : files) {
    list.push_back({{"name", file.name}, {"bytes", file.bytes}, {"xxh3", hex(file.xxh3)}});
  }
  return list;
}

OrderedJson tensor_json(const std::vector<TensorEntry>& tensors) {
  OrderedJson list = OrderedJson::array();
  for (const TensorEntry& tensor : tensors) {
    OrderedJson pieces = OrderedJson::array();
    for (const Piece& piece : tensor.pieces) {
      pieces.push_back({{"file", piece.file},
                        {"dataset", piece.dataset},
                        {"start", piece.box.start},
                        {"count", piece.box.count}});
    }
    list.push_back({{"name", tensor.name},
                    {"kind", name(tensor.kind)},
                    {"dtype", name(tensor.dtype)},
                    {"shape", std::vector<int64_t>(tensor.shape.begin(), tensor.shape.end())},
                    {"hash", hex(tensor.hash)},
                    {"pieces", std::move(pieces)}});
  }
  return list;
}

// Reads fields of one file's JSON and says where it is wrong.
class Fields {
 public:
  explicit Fields(std::filesystem::path path) : path_(std::move(path)) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw DataError(
        fmt::format("[checkpoint] {}: {}. The file is damaged or made by another program: "
                    "use another checkpoint.",
                    path_.string(), what));
  }
  const Json& at(const Json& object, const char* key) const {
    if (!object.is_object() || !object.contains(key)) fail(fmt::format("no {}", key));
    return object.at(key);
  }
  const Json& array(const Json& object, const char* key) const {
    const Json& value = at(object, key);
    if (!value.is_array()) fail(fmt::format("{} is no list", key));
    return value;
  }
  int64_t integer(const Json& value, const char* what, int64_t low, int64_t high = INT64_MAX) const {
    const bool fits_i64 =
        value.is_number_integer() && !(value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX});
    if (!fits_i64 || value.get<int64_t>() < low || value.get<int64_t>() > high) {
      fail(fmt::format("{} is {}, need an integer from {} to {}", what, value.dump().substr(0, 40), low, high));
    }
    return value.get<int64_t>();
  }
  int64_t integer_at(const Json& object, const char* key, int64_t low, int64_t high = INT64_MAX) const {
    return integer(at(object, key), key, low, high);
  }
  double number(const Json& object, const char* key) const {
    const Json& value = at(object, key);
    if (!value.is_number() || !std::isfinite(value.get<double>())) fail(fmt::format("{} is no number", key));
    return value.get<double>();
  }
  std::string text(const Json& object, const char* key) const {
    const Json& value = at(object, key);
    if (!value.is_string()) fail(fmt::format("{} is no text", key));
    return value.get<std::string>();
  }
  uint64_t hash(const Json& object, const char* key) const {
    const auto value = parse_hex(text(object, key));
    if (!value) fail(fmt::format("{} is no hash of 16 digits", key));
    return *value;
  }
  std::vector<int64_t> integers(const Json& object, const char* key, int64_t low) const {
    std::vector<int64_t> values;
    for (const Json& value : array(object, key)) values.push_back(integer(value, key, low));
    if (values.empty() || values.size() > kMaxDims) {
      fail(fmt::format("{} has {} dims, need 1 to {}", key, values.size(), kMaxDims));
    }
    return values;
  }

 private:
  std::filesystem::path path_;
};

Json unseal(std::string_view text, const Fields& fields, const std::filesystem::path& path) {
  const size_t begin = text.size() < kHashBytes ? 0 : text.size() - kHashBytes;
  const std::string_view tail = text.substr(begin);
  if (!tail.starts_with(kHashBegin) || !tail.ends_with(kHashEnd)) fields.fail("it does not end with its hash");
  if (parse_hex(tail.substr(kHashBegin.size(), 16)) != xxh3(text.substr(0, begin))) {
    fields.fail("its contents do not match its hash");
  }
  Json json = parse_json(text, path);
  if (fields.text(json, "format") != kFormat) fields.fail(fmt::format("format is not {}", kFormat));
  const int64_t version = fields.integer_at(json, "version", 1);
  if (version != kVersion) {
    throw DataError(fmt::format("[checkpoint] {}: format version {}, this program reads {}. Use a newer Trine.",
                                path.string(), version, kVersion));
  }
  return json;
}

bool is_file_name(const std::string& name) { return is_tensor_name(name) && name[0] != '.'; }

std::vector<FileEntry> read_files(const Json& json, const Fields& fields) {
  std::vector<FileEntry> files;
  std::unordered_set<std::string> names;
  for (const Json& entry : fields.array(json, "files")) {
    FileEntry file{fields.text(entry, "name"), fields.integer_at(entry, "bytes", 0), fields.hash(entry, "xxh3")};
    if (!is_file_name(file.name) || file.name == kManifestFile || !names.insert(file.name).second) {
      fields.fail(fmt::format("files names \"{}\", need the plain name of another file, once", file.name));
    }
    files.push_back(std::move(file));
  }
  return files;
}

DType read_dtype(const Json& json, const Fields& fields) {
  const std::string text = fields.text(json, "dtype");
  const auto dtype = parse_dtype(text);
  if (!dtype || name(*dtype) != text) fields.fail(fmt::format("dtype is \"{}\", which is none of ours", text));
  return *dtype;
}

TensorKind read_kind(const Json& json, const Fields& fields) {
  const std::string text = fields.text(json, "kind");
  for (TensorKind kind : kTensorKinds) {
    if (name(kind) == text) return kind;
  }
  fields.fail(fmt::format("kind is \"{}\", need weight, momentum or variance", text));
}

// The bytes that the pieces need of each file are added to `need`.
TensorEntry read_tensor(const Json& json, const Fields& fields, std::vector<int64_t>& need) {
  TensorEntry tensor;
  tensor.name = fields.text(json, "name");
  if (!is_tensor_name(tensor.name)) fields.fail(fmt::format("a tensor is called \"{}\"", tensor.name));
  tensor.kind = read_kind(json, fields);
  tensor.dtype = read_dtype(json, fields);
  tensor.shape = Shape(fields.integers(json, "shape", 1));
  tensor.hash = fields.hash(json, "hash");
  const auto element_bytes = static_cast<int64_t>(size_bytes(tensor.dtype));
  int64_t bytes = element_bytes;
  for (int64_t extent : tensor.shape) {
    if (__builtin_mul_overflow(bytes, extent, &bytes)) {
      fields.fail(fmt::format("{} has the impossible shape {}", tensor.name, to_string(tensor.shape)));
    }
  }
  const Json& pieces = fields.array(json, "pieces");
  if (pieces.size() > kMaxPieces) fields.fail(fmt::format("{} has {} pieces", tensor.name, pieces.size()));
  for (const Json& entry : pieces) {
    Piece piece;
    piece.file = fields.integer_at(entry, "file", 0, static_cast<int64_t>(need.size()) - 1);
    piece.dataset = fields.integer_at(entry, "dataset", 0);
    piece.box = {fields.integers(entry, "start", 0), fields.integers(entry, "count", 1)};
    if (!fits(piece.box, tensor.shape)) {
      fields.fail(fmt::format("a piece of {} {} lies outside of it", tensor.name, to_string(tensor.shape)));
    }
    int64_t& used = need[static_cast<size_t>(piece.file)];
    if (__builtin_add_overflow(used, piece.box.num_elements() * element_bytes, &used)) {
      fields.fail(fmt::format("the pieces of {} are too large", tensor.name));
    }
    tensor.pieces.push_back(std::move(piece));
  }
  return tensor;
}

std::vector<TensorEntry> read_tensors(const Json& json, const std::vector<FileEntry>& files, const Fields& fields) {
  std::vector<TensorEntry> tensors;
  std::vector<int64_t> need(files.size(), 0);
  for (const Json& entry : fields.array(json, "tensors")) tensors.push_back(read_tensor(entry, fields, need));
  for (size_t i = 0; i < files.size(); ++i) {
    if (need[i] > files[i].bytes) {
      fields.fail(fmt::format("{} has {} bytes, but its pieces need {}", files[i].name, files[i].bytes, need[i]));
    }
  }
  return tensors;
}

OrderedJson state_json(const TrainingState& state) {
  OrderedJson json = {
      {"step", state.step},
      {"sample", state.sample},
      {"tokens", state.tokens},
      {"adam_step", state.adam_step},
      {"loss_scale", state.loss_scale},
      {"clean_steps", state.clean_steps},
      {"seed", state.seed},
      {"best_valid_loss", state.best_valid_loss ? OrderedJson(*state.best_valid_loss) : OrderedJson(nullptr)},
      {"tokenizer_hash", state.tokenizer_hash}};
  if (!state.data.empty()) json["data"] = state.data;
  if (!state.valid_data.empty()) json["valid_data"] = state.valid_data;
  return json;
}

TrainingState read_state(const Json& json, const Fields& fields) {
  TrainingState state;
  state.step = fields.integer_at(json, "step", 0);
  state.sample = fields.integer_at(json, "sample", 0);
  state.tokens = fields.integer_at(json, "tokens", 0);
  state.adam_step = fields.integer_at(json, "adam_step", 0);
  state.loss_scale = fields.number(json, "loss_scale");
  state.clean_steps = fields.integer_at(json, "clean_steps", 0);
  state.seed = fields.integer_at(json, "seed", INT64_MIN);
  if (!fields.at(json, "best_valid_loss").is_null()) state.best_valid_loss = fields.number(json, "best_valid_loss");
  state.tokenizer_hash = fields.text(json, "tokenizer_hash");
  if (json.contains("data")) state.data = fields.text(json, "data");
  if (json.contains("valid_data")) state.valid_data = fields.text(json, "valid_data");
  return state;
}

}  // namespace

std::string write_manifest(const Manifest& manifest) {
  const SavedLayout& l = manifest.layout;
  return seal({{"format", kFormat},
               {"version", kVersion},
               {"sequence", manifest.sequence},
               {"state", state_json(manifest.state)},
               {"layout", {{"tp", l.tp}, {"pp", l.pp}, {"dp", l.dp}, {"vpp", l.vpp}, {"zero", l.zero}}},
               {"config", OrderedJson(manifest.config)},
               {"files", file_json(manifest.files)},
               {"tensors", tensor_json(manifest.tensors)}});
}

Manifest read_manifest(std::string_view text, const std::filesystem::path& path) {
  const Fields fields(path);
  const Json json = unseal(text, fields, path);
  Manifest manifest;
  manifest.sequence = fields.integer_at(json, "sequence", 0, INT64_MAX - 1);
  manifest.state = read_state(fields.at(json, "state"), fields);
  const Json& layout = fields.at(json, "layout");
  manifest.layout = {fields.integer_at(layout, "tp", 1), fields.integer_at(layout, "pp", 1),
                     fields.integer_at(layout, "dp", 1), fields.integer_at(layout, "vpp", 1),
                     fields.integer_at(layout, "zero", 0)};
  manifest.config = fields.at(json, "config");
  if (!manifest.config.is_object()) fields.fail("config is no object");
  Part whole;
  whole.files = read_files(json, fields);
  whole.tensors = read_tensors(json, whole.files, fields);
  const size_t num_tensors = whole.tensors.size();
  std::vector<Part> parts;
  parts.push_back(std::move(whole));
  merge_parts(std::move(parts), manifest, path);  // sorts, and checks that every element is there once
  if (manifest.tensors.size() != num_tensors) fields.fail("a tensor is listed twice");
  return manifest;
}

Manifest load_manifest(const std::filesystem::path& folder) {
  const auto path = folder / kManifestFile;
  return read_manifest(read_small_file(path, kMaxManifestBytes), path);
}

std::string write_part(const Part& part) {
  return seal({{"format", kFormat},
               {"version", kVersion},
               {"files", file_json(part.files)},
               {"tensors", tensor_json(part.tensors)}});
}

Part read_part(std::string_view text, const std::filesystem::path& path) {
  const Fields fields(path);
  const Json json = unseal(text, fields, path);
  Part part;
  part.files = read_files(json, fields);
  part.tensors = read_tensors(json, part.files, fields);
  return part;
}

}  // namespace trine
