#include "checkpoint/checkpoint.h"

#include "base/error.h"
#include "checkpoint/file_io.h"
#include "checkpoint/hash.h"
#include "checkpoint/shard_file.h"

namespace trine {
namespace {

constexpr size_t kMaxOpenFiles = 64;

std::string describe(const TensorEntry& tensor) { return fmt::format("{} {}", name(tensor.kind), tensor.name); }

}  // namespace

Checkpoint::Checkpoint(std::filesystem::path folder)
    : folder_(std::move(folder)), manifest_(load_manifest(folder_)), checked_(manifest_.files.size(), false) {
  for (const FileEntry& entry : manifest_.files) {
    const File file = File::open(folder_ / entry.name);
    if (const int64_t size = file.size(); size != entry.bytes) {
      throw DataError(
          fmt::format("[checkpoint] {}: {} bytes, need {}. The file is damaged: use another checkpoint.",
                      file.path().string(), size, entry.bytes));
    }
  }
}

Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

int64_t Checkpoint::size_bytes() const {
  int64_t sum = 0;
  for (const FileEntry& entry : manifest_.files) sum += entry.bytes;
  return sum;
}

void Checkpoint::check_file(size_t index) {
  if (checked_[index]) return;
  const FileEntry& entry = manifest_.files[index];
  const File file = File::open(folder_ / entry.name);
  const uint64_t hash = xxh3(file, entry.bytes);
  if (hash != entry.xxh3) {
    throw DataError(
        fmt::format("[checkpoint] {}: its XXH3 is {}, need {}. The file is damaged: use another "
                    "checkpoint.",
                    file.path().string(), hex(hash), hex(entry.xxh3)));
  }
  checked_[index] = true;
}

void Checkpoint::check_files(int part, int num_parts) {
  TRINE_CHECK(0 <= part && part < num_parts);
  for (size_t i = static_cast<size_t>(part); i < checked_.size(); i += static_cast<size_t>(num_parts))
    check_file(i);
}

void Checkpoint::trust_files() { checked_.assign(checked_.size(), true); }

const TensorEntry& Checkpoint::tensor(TensorKind kind, std::string_view name) const {
  const TensorEntry* entry = manifest_.find(kind, name);
  if (entry == nullptr) {
    throw DataError(
        fmt::format("[checkpoint] {}: no {} of {} among {} tensors. Check that the model and the "
                    "checkpoint belong together.",
                    folder_.string(), trine::name(kind), name, manifest_.tensors.size()));
  }
  return *entry;
}

ShardFile& Checkpoint::shard(int64_t index) {
  if (const auto it = open_.find(index); it != open_.end()) return *it->second;
  check_file(static_cast<size_t>(index));
  if (open_.size() >= kMaxOpenFiles) open_.clear();
  auto file = std::make_unique<ShardFile>(folder_ / manifest_.files[static_cast<size_t>(index)].name);
  return *open_.emplace(index, std::move(file)).first->second;
}

void Checkpoint::read(const TensorEntry& tensor, std::span<const Box> boxes, std::span<std::byte> out) {
  const size_t element_bytes = trine::size_bytes(tensor.dtype);
  for (const Box& box : boxes) {
    TRINE_CHECK(fits(box, tensor.shape), "{} {}: box {}", tensor.name, to_string(tensor.shape), to_string(box));
    const size_t bytes = static_cast<size_t>(box.num_elements()) * element_bytes;
    TRINE_CHECK(bytes <= out.size(), "{}: {} bytes for {}", tensor.name, out.size(), to_string(box));
    for (const Piece& piece : tensor.pieces) {
      const auto part = intersect(box, piece.box);
      if (!part) continue;
      shard(piece.file).for_each_chunk(tensor, piece, *part, [&](const Box& chunk, const std::byte* data) {
        copy_box({out.data(), box}, {data, chunk}, *intersect(*part, chunk), element_bytes);
      });
    }
    out = out.subspan(bytes);
    bytes_read_ += static_cast<int64_t>(bytes);
  }
  TRINE_CHECK(out.empty(), "{}: {} bytes too many", tensor.name, out.size());
}

uint64_t Checkpoint::hash_of(const TensorEntry& tensor) {
  uint64_t hash = 0;
  for (const Piece& piece : tensor.pieces) {
    shard(piece.file).for_each_chunk(tensor, piece, piece.box, [&](const Box& chunk, const std::byte* data) {
      hash += box_hash(data, chunk, tensor.shape, trine::size_bytes(tensor.dtype));
    });
  }
  return hash;
}

std::vector<std::string> Checkpoint::verify() {
  std::vector<std::string> problems;
  const auto collect = [&](auto check) {
    try {
      check();
    } catch (const Error& error) {
      problems.emplace_back(error.what());
    }
  };
  checked_.assign(checked_.size(), false);
  for (size_t i = 0; i < checked_.size(); ++i) collect([&] { check_file(i); });
  if (!problems.empty()) return problems;  // HDF5 opens no file that is known to be damaged
  for (const TensorEntry& tensor : manifest_.tensors) {
    collect([&] {
      if (const uint64_t hash = hash_of(tensor); hash != tensor.hash) {
        throw DataError(fmt::format("[checkpoint] {}: the hash of {} is {}, need {}. Use another checkpoint.",
                                    folder_.string(), describe(tensor), hex(hash), hex(tensor.hash)));
      }
    });
  }
  return problems;
}

}  // namespace trine
