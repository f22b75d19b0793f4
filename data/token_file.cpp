#include "data/token_file.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "base/text.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kIndexMagic("MMIDIDX\0\0", 9);
constexpr int64_t kIndexHeaderBytes = 34, kLlmcHeaderBytes = 256 * 4, kCheckedAtOpenBytes = int64_t{64} << 20;
constexpr size_t kBlockBytes = size_t{32} << 10;

// The index is packed, so that nothing in it is aligned.
template <typename T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

template <typename... Args>
DataError broken(const fs::path& file, fmt::format_string<Args...> format, Args&&... args) {
  return DataError(fmt::format("[data] {}: {}", file.string(), fmt::format(format, std::forward<Args>(args)...)));
}
constexpr const char* kWriteAgain = "The file is damaged or was cut short: write it again.";

fs::path with_suffix(fs::path path, const char* suffix) { return path += suffix; }
// The first bytes, or all if there are fewer.
std::string beginning(const InputFile& file, size_t count) {
  std::string bytes(std::min(count, static_cast<size_t>(file.size())), '\0');
  file.read(0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}
const std::byte* as_bytes(const std::string& text) { return reinterpret_cast<const std::byte*>(text.data()); }

bool is_index(const InputFile& file) { return beginning(file, kIndexMagic.size()) == kIndexMagic; }

std::optional<TokenType> llm_c_type(int32_t magic, int32_t version) {
  if (magic == 20240520 && version == 1) return TokenType::kU16;
  if (magic == 20240801 && version == 7) return TokenType::kU32;
  return std::nullopt;
}
bool is_llm_c(const InputFile& file) {
  if (file.size() < 4) return false;
  const auto magic = load<int32_t>(as_bytes(beginning(file, 4)));
  return magic == 20240520 || magic == 20240801;
}

// The first bytes, for a person.
std::string printed_beginning(const InputFile& file) {
  std::string text;
  for (const char b : beginning(file, 12)) {
    const auto c = static_cast<unsigned char>(b);
    text += c < 0x80 && std::isprint(c) ? std::string(1, b) : fmt::format("\\x{:02x}", c);
  }
  return text;
}

DataError foreign(const InputFile& file) {
  if (file.size() == 0) {
    return broken(file.path(), "the file is empty, need tokens. Write it again, with prepare_data for instance.");
  }
  return broken(
      file.path(),
      "begins with \"{}\", need a Megatron pair .bin and .idx or a token file of llm.c. If it is text, run "
      "prepare_data {} --out PREFIX and give PREFIX-train.",
      printed_beginning(file), file.path().string());
}

DataError missing(const fs::path& path) {
  if (kind_of(path) != PathKind::kNothing)
    return broken(path, "is no regular file. Give a token file, or the prefix of one.");
  if (is_file(with_suffix(path, "-train.idx"))) {
    return broken(path, "no such file, but prepare_data wrote {0}-train and {0}-valid. Give one of those.",
                  path.string());
  }
  return broken(path, "no such file, nor {0}.idx. Check the path, or make token files with prepare_data.",
                path.string());
}

std::optional<TokenType> megatron_type(int code) {
  switch (code) {
    case 4:
      return TokenType::kI32;
    case 5:
      return TokenType::kI64;
    case 8:
      return TokenType::kU16;
    default:
      return std::nullopt;
  }
}

struct IndexHeader {
  TokenType type;
  int64_t num_sequences, num_indices;
};

// The fixed part of a Megatron index, checked against the size of the file.
IndexHeader read_index_header(const InputFile& index) {
  if (index.size() < kIndexHeaderBytes) {
    throw broken(index.path(), "{} bytes, need a header of {}. {}", index.size(), kIndexHeaderBytes, kWriteAgain);
  }
  const std::string bytes = beginning(index, kIndexHeaderBytes);
  const std::byte* header = as_bytes(bytes);
  const auto version = load<uint64_t>(header + 9), sequences = load<uint64_t>(header + 18),
             indices = load<uint64_t>(header + 26);
  if (version != 1) throw broken(index.path(), "version {} at byte 9, need 1. Convert the file.", version);
  const int code = load<uint8_t>(header + 17);
  const auto type = megatron_type(code);
  if (!type) {
    throw broken(index.path(), "token type {} at byte 17, need 4 (i32), 5 (i64) or 8 (u16). Convert the file.",
                 code);
  }
  const auto rest = static_cast<uint64_t>(index.size() - kIndexHeaderBytes);
  if (sequences > rest / 12 || indices > rest / 8 || 12 * sequences + 8 * indices != rest) {
    throw broken(index.path(), "{} bytes, but {} sequences and {} document indices need {} + 12 x {} + 8 x {}. {}",
                 index.size(), sequences, indices, kIndexHeaderBytes, sequences, indices, kWriteAgain);
  }
  return {*type, static_cast<int64_t>(sequences), static_cast<int64_t>(indices)};
}

// That the sequences lie side by side; how many bytes they take.
int64_t check_sequences(const InputFile& index, const IndexHeader& header) {
  NumbersInFile<int32_t> lengths(index, kIndexHeaderBytes, header.num_sequences);
  NumbersInFile<int64_t> pointers(index, kIndexHeaderBytes + 4 * header.num_sequences, header.num_sequences);
  int64_t at = 0;
  for (int64_t i = 0; i < header.num_sequences; ++i) {
    const int32_t length = lengths[i];
    const int64_t pointer = pointers[i];
    if (length < 0) throw broken(index.path(), "sequence {} has length {}, need >= 0. {}", i, length, kWriteAgain);
    if (pointer != at) {
      throw broken(index.path(), "sequence {} begins at byte {}, need {}, where the one before it ends. {}", i,
                   pointer, at, kWriteAgain);
    }
    at += length * size_bytes(header.type);
  }
  return at;
}

void check_documents(const InputFile& index, const IndexHeader& header) {
  NumbersInFile<int64_t> indices(index, kIndexHeaderBytes + 12 * header.num_sequences, header.num_indices);
  for (int64_t i = 0, last = 0; i < header.num_indices; ++i) {
    const int64_t document = indices[i];
    if (document < last || document > header.num_sequences || (i == 0 && document != 0)) {
      throw broken(index.path(), "document index {} is {}, need rising numbers from 0 to {}. {}", i, document,
                   header.num_sequences, kWriteAgain);
    }
    last = document;
  }
}

// Copies ids to `out` and returns the position of the first that is not in [0, vocab_size), or -1.
template <typename T>
int64_t convert(const std::byte* from, int64_t count, int64_t vocab_size, int32_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    const auto id = static_cast<int64_t>(load<T>(from + i * static_cast<int64_t>(sizeof(T))));
    if (id < 0 || id >= vocab_size) return i;
    out[i] = static_cast<int32_t>(id);
  }
  return -1;
}

int64_t convert(TokenType type, const std::byte* from, int64_t count, int64_t vocab_size, int32_t* out) {
  switch (type) {
    case TokenType::kU16:
      return convert<uint16_t>(from, count, vocab_size, out);
    case TokenType::kU32:
      return convert<uint32_t>(from, count, vocab_size, out);
    case TokenType::kI32:
      return convert<int32_t>(from, count, vocab_size, out);
    case TokenType::kI64:
      return convert<int64_t>(from, count, vocab_size, out);
  }
  TRINE_CHECK(false);
}

int64_t load_id(TokenType type, const std::byte* from) {
  switch (type) {
    case TokenType::kU16:
      return load<uint16_t>(from);
    case TokenType::kU32:
      return load<uint32_t>(from);
    case TokenType::kI32:
      return load<int32_t>(from);
    case TokenType::kI64:
      return load<int64_t>(from);
  }
  TRINE_CHECK(false);
}

}  // namespace

int64_t size_bytes(TokenType type) { return type == TokenType::kU16 ? 2 : type == TokenType::kI64 ? 8 : 4; }

TokenFile::TokenFile(const fs::path& path) {
  if (!is_file(path)) {
    if (is_file(with_suffix(path, ".idx"))) {
      open_megatron(with_suffix(path, ".idx"), with_suffix(path, ".bin"));
    } else if (is_file(with_suffix(path, ".bin"))) {
      *this = TokenFile(with_suffix(path, ".bin"));
    } else {
      throw missing(path);
    }
    return;
  }
  const InputFile file(path);
  fs::path index = path, bin = path;
  index.replace_extension(".idx"), bin.replace_extension(".bin");
  // The tokens of a Megatron pair may look like anything, so that an index beside them
  // decides before their contents do.
  const bool has_index = path.extension() == ".bin" && is_file(index);
  if (is_index(file)) {
    open_megatron(path, bin);
  } else if (has_index && (is_index(InputFile(index)) || !is_llm_c(file))) {
    open_megatron(index, path);
  } else if (is_llm_c(file)) {
    open_llm_c(path);
  } else {
    throw foreign(file);
  }
}

void TokenFile::open_megatron(const fs::path& index_path, const fs::path& bin) {
  const InputFile index(index_path);
  if (!is_index(index)) throw foreign(index);
  const IndexHeader header = read_index_header(index);
  const int64_t bytes = check_sequences(index, header);
  check_documents(index, header);
  if (!is_file(bin)) throw broken(bin, "no such file, but its index {} is there. Copy both.", index_path.string());
  bin_.emplace(bin);
  if (bin_->size() != bytes) {
    throw broken(bin, "{} bytes, but its index {} describes {}. One of the two is damaged, or they are no pair.",
                 bin_->size(), index_path.string(), bytes);
  }
  if (bytes == 0) throw broken(bin, "holds no tokens. Prepare more text.");
  type_ = header.type;
  size_ = bytes / size_bytes(header.type);
  num_documents_ = std::max<int64_t>(0, header.num_indices - 1);
}

void TokenFile::open_llm_c(const fs::path& bin) {
  bin_.emplace(bin);
  const int64_t bytes = bin_->size();
  if (bytes < kLlmcHeaderBytes) {
    throw broken(bin, "{} bytes, need a header of {}. {}", bytes, kLlmcHeaderBytes, kWriteAgain);
  }
  const std::string head = beginning(*bin_, 12);
  const std::byte* header = as_bytes(head);
  const auto magic = load<int32_t>(header), version = load<int32_t>(header + 4), count = load<int32_t>(header + 8);
  const auto type = llm_c_type(magic, version);
  if (!type) {
    throw broken(
        bin,
        "magic {} with version {}, need 20240520 with version 1 (u16) or 20240801 with version 7 (u32). Write "
        "it with a llm.c of 2024-08 or newer.",
        magic, version);
  }
  const int64_t need = kLlmcHeaderBytes + int64_t{count} * size_bytes(*type);
  if (count < 0 || bytes != need) {
    throw broken(bin, "{} bytes, but {} tokens in its header need {}. {}", bytes, count, need, kWriteAgain);
  }
  if (count == 0) throw broken(bin, "holds no tokens. Prepare more text.");
  type_ = *type;
  data_offset_ = kLlmcHeaderBytes;
  size_ = count;
  num_documents_ = 1;
}

void TokenFile::read(int64_t begin, int64_t count, int64_t vocab_size, int32_t* out) const {
  TRINE_CHECK(0 <= begin && 0 <= count && begin <= size_ && count <= size_ - begin, "tokens [{}, {} + {}) of {}",
              begin, begin, count, size_);
  std::array<std::byte, kBlockBytes> block;
  const int64_t token_bytes = size_bytes(type_), in_block = static_cast<int64_t>(kBlockBytes) / token_bytes;
  for (const int64_t end = begin + count; begin < end;) {
    const int64_t part = std::min(in_block, end - begin), offset = data_offset_ + begin * token_bytes;
    bin_->read(offset, std::span(block).first(static_cast<size_t>(part * token_bytes)));
    if (const int64_t bad = convert(type_, block.data(), part, vocab_size, out); bad >= 0) {
      throw broken(
          path(),
          "token {} at byte {} is {}, need ids from 0 to {} (the vocabulary). Prepare the text with the model's "
          "tokenizer, or raise --vocab.",
          begin + bad, offset + bad * token_bytes, load_id(type_, block.data() + bad * token_bytes),
          vocab_size - 1);
    }
    begin += part, out += part;
  }
}

void TokenFile::check_all(int64_t vocab_size) const {
  std::vector<int32_t> block(1 << 16);
  for (int64_t at = 0; at < size_; at += static_cast<int64_t>(block.size())) {
    read(at, std::min(static_cast<int64_t>(block.size()), size_ - at), vocab_size, block.data());
  }
}

TokenStream::TokenStream(const std::vector<fs::path>& paths, int64_t vocab_size) : vocab_size_(vocab_size) {
  TRINE_CHECK(!paths.empty());
  for (const fs::path& path : paths) {
    const TokenFile& file = files_.emplace_back(path);
    if (file.size() * size_bytes(file.type()) < kCheckedAtOpenBytes) file.check_all(vocab_size);
    begins_.push_back(begins_.back() + file.size());
  }
}

void TokenStream::read(int64_t begin, int64_t count, int32_t* out) const {
  TRINE_CHECK(0 <= begin && 0 <= count && begin <= size() && count <= size() - begin, "tokens [{}, {} + {}) of {}",
              begin, begin, count, size());
  size_t file = static_cast<size_t>(std::upper_bound(begins_.begin(), begins_.end(), begin) - begins_.begin()) - 1;
  while (count > 0) {
    const int64_t part = std::min(count, begins_[file + 1] - begin);
    files_[file].read(begin - begins_[file], part, vocab_size_, out);
    begin += part, out += part, count -= part, ++file;
  }
}

std::string TokenStream::describe() const {
  const std::string first = files_.front().path().filename().string();
  return files_.size() == 1 ? first : fmt::format("{} + {} more", first, files_.size() - 1);
}

}  // namespace trine
