#include <algorithm>
#include <cstring>
#include <future>
#include <map>

#include "base/error.h"
#include "checkpoint/fletcher32.h"
#include "checkpoint/hash.h"
#include "checkpoint/shard_file.h"

namespace trine {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kFileOverheadBytes = 64 << 10, kDatasetOverheadBytes = 1 << 10;
constexpr size_t kBytesWorthAThread = 256 << 10;

void check_slice(const Slice& slice) {
  TRINE_CHECK(is_tensor_name(slice.name), "\"{}\" is no name of a tensor", slice.name);
  TRINE_CHECK(1 <= slice.shape.num_dims() && slice.shape.num_dims() <= kMaxDims, "{}", slice.name);
  for (const Box& box : slice.boxes) {
    TRINE_CHECK(fits(box, slice.shape), "{} {}: box {}", slice.name, to_string(slice.shape), to_string(box));
  }
}

std::vector<hsize_t> extents(std::span<const int64_t> values) { return {values.begin(), values.end()}; }

// A new file, removed again unless it is finished.
class NewFile {
 public:
  explicit NewFile(const fs::path& path) : file_(File::create(path)), hdf5_(H5File::create(file_)) {}
  ~NewFile() {
    if (finished_) return;
    std::error_code ignored;
    fs::remove(file_.path(), ignored);
  }
  const fs::path& path() const { return file_.path(); }
  const H5File& hdf5() const { return hdf5_; }

  // Durable, and hashed while the disk works.
  FileEntry finish() {
    hdf5_.close();
    const int64_t size = file_.size();
    std::future<uint64_t> hash = std::async(std::launch::async, [&] { return xxh3(file_, size); });
    file_.sync();
    FileEntry entry{path().filename(), size, hash.get()};
    finished_ = true;
    return entry;
  }

 private:
  File file_;
  H5File hdf5_;
  bool finished_ = false;
};

void begin_file(const NewFile& file) {
  const Hdf5Lock lock;
  write_attribute(file.hdf5(), file.path(), "format", "trine-checkpoint");
  const int64_t version = 1;
  write_attribute(file.hdf5(), file.path(), "version", {&version, 1});
}

H5Id create_group(const NewFile& file, TensorKind kind) {
  return H5Id(H5Gcreate2(file.hdf5(), std::string(name(kind)).c_str(), H5P_DEFAULT,
                         without_times(H5P_GROUP_CREATE, file.path()), H5P_DEFAULT),
              file.path(), "creating a group");
}

H5Id create_dataset(const NewFile& file, const std::string& name, const Slice& slice, const Box& box,
                    const ChunkGrid& grid) {
  const Hdf5Lock lock;
  const fs::path& path = file.path();
  const auto count = extents(box.count), chunk = extents(grid.shape());
  const int dims = static_cast<int>(count.size());
  const H5Id space(H5Screate_simple(dims, count.data(), nullptr), path, "creating a dataset");
  const H5Id creation = without_times(H5P_DATASET_CREATE, path);
  h5_check(H5Pset_chunk(creation, dims, chunk.data()), path, "setting the chunk");
  h5_check(H5Pset_fletcher32(creation), path, "setting the filter");
  h5_check(H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER), path, "setting the fill time");
  H5Id dataset(
      H5Dcreate2(file.hdf5(), name.c_str(), file_type(slice.dtype), space, H5P_DEFAULT, creation, H5P_DEFAULT),
      path, "creating a dataset");
  write_attribute(dataset, path, "start", box.start);
  write_attribute(dataset, path, "global_shape", std::vector<int64_t>(slice.shape.begin(), slice.shape.end()));
  return dataset;
}

// Gives chunks of a dataset to HDF5 as its filter would leave them: zeros up to the full size, then the checksum.
// While one is written, the next is prepared.
class ChunkWriter {
 public:
  ChunkWriter(const NewFile& file, hid_t dataset, int64_t chunk_bytes)
      : file_(file), dataset_(dataset), chunk_bytes_(static_cast<size_t>(chunk_bytes)) {}

  // `place`: of the chunk in the tensor. Returns what its elements add to the tensor's hash.
  uint64_t write(const Chunk& chunk, const Box& place, const Shape& tensor, size_t element_bytes,
                 const std::byte* data) {
    std::swap(filling_, writing_);
    filling_.resize(chunk_bytes_ + sizeof(uint32_t));
    std::byte* const to = filling_.data();
    const uint64_t hash = copy_and_hash(data, place, tensor, element_bytes, to);
    const size_t data_bytes = static_cast<size_t>(place.num_elements()) * element_bytes;
    std::memset(to + data_bytes, 0, chunk_bytes_ - data_bytes);
    const uint32_t sum = fletcher32({to, chunk_bytes_});
    std::memcpy(to + chunk_bytes_, &sum, sizeof sum);
    const auto give = [this, start = extents(chunk.box.start), filled = std::span<const std::byte>(filling_)] {
      write_filtered(start, filled);
    };
    finish();
    if (chunk_bytes_ < kBytesWorthAThread)
      give();
    else
      running_ = std::async(std::launch::async, give);
    return hash;
  }
  // The last one is written.
  void finish() {
    if (running_.valid()) running_.get();
  }

 private:
  void write_filtered(const std::vector<hsize_t>& start, std::span<const std::byte> filled) const {
    const Hdf5Lock lock;
    h5_check(H5Dwrite_chunk(dataset_, H5P_DEFAULT, 0, start.data(), filled.size(), filled.data()), file_.path(),
             "writing a chunk");
    file_.hdf5().throw_if_failed();
  }

  const NewFile& file_;
  const hid_t dataset_;
  const size_t chunk_bytes_;
  std::vector<std::byte> filling_, writing_;
  std::future<void> running_;  // last: its end is waited for before what it works on goes
};

// Returns the box's share of the tensor's hash.
uint64_t write_box(const NewFile& file, hid_t dataset, const Slice& slice, const Box& box, const ChunkGrid& grid,
                   const std::byte* data) {
  const size_t element_bytes = size_bytes(slice.dtype);
  ChunkWriter writer(file, dataset, grid.num_elements() * static_cast<int64_t>(element_bytes));
  uint64_t hash = 0;
  const Box all{std::vector<int64_t>(box.num_dims()), box.count};
  grid.for_each(all, [&](const Chunk& chunk) {
    Box place = chunk.box;
    for (size_t d = 0; d < place.num_dims(); ++d) place.start[d] += box.start[d];
    const std::byte* from = data + static_cast<size_t>(chunk.begin) * element_bytes;
    hash += writer.write(chunk, place, slice.shape, element_bytes, from);
  });
  writer.finish();
  return hash;
}

TensorEntry write_slice(const NewFile& file, const Slice& slice, int64_t first_dataset) {
  TensorEntry entry{slice.name, slice.kind, slice.dtype, slice.shape, 0, {}};
  const auto* data = static_cast<const std::byte*>(slice.data);
  for (const Box& box : slice.boxes) {
    const ChunkGrid grid(box.count, size_bytes(slice.dtype));
    const int64_t k = first_dataset + static_cast<int64_t>(entry.pieces.size());
    const H5Id dataset = create_dataset(file, dataset_name(entry, k), slice, box, grid);
    entry.hash += write_box(file, dataset, slice, box, grid, data);
    entry.pieces.push_back({0, k, box});
    data += static_cast<size_t>(box.num_elements()) * size_bytes(slice.dtype);
  }
  return entry;
}

void add_virtual_dataset(const NewFile& file, const Manifest& manifest, const TensorEntry& tensor) {
  const fs::path& path = file.path();
  const auto shape = extents({tensor.shape.begin(), tensor.shape.end()});
  const int dims = static_cast<int>(shape.size());
  const H5Id space(H5Screate_simple(dims, shape.data(), nullptr), path, "creating a dataset");
  const H5Id creation = without_times(H5P_DATASET_CREATE, path);
  for (const Piece& piece : tensor.pieces) {
    const auto start = extents(piece.box.start), count = extents(piece.box.count);
    const H5Id source(H5Screate_simple(dims, count.data(), nullptr), path, "mapping a piece");
    h5_check(H5Sselect_hyperslab(space, H5S_SELECT_SET, start.data(), nullptr, count.data(), nullptr), path,
             "mapping a piece");
    h5_check(H5Pset_virtual(creation, space, manifest.files[static_cast<size_t>(piece.file)].name.c_str(),
                            dataset_name(tensor, piece.dataset).c_str(), source),
             path, "mapping a piece");
  }
  const std::string name = fmt::format("{}/{}", trine::name(tensor.kind), tensor.name);
  const H5Id dataset(
      H5Dcreate2(file.hdf5(), name.c_str(), file_type(tensor.dtype), space, H5P_DEFAULT, creation, H5P_DEFAULT),
      path, "creating a dataset");
}

}  // namespace

int64_t Slice::num_elements() const {
  int64_t sum = 0;
  for (const Box& box : boxes) sum += box.num_elements();
  return sum;
}

std::string shard_name(int writer) { return fmt::format("rank-{:04}.h5", writer); }

int64_t shard_bytes(std::span<const Slice> slices) {
  int64_t bytes = kFileOverheadBytes;
  for (const Slice& slice : slices) {
    bytes += slice.size_bytes() + slice.size_bytes() / 64;  // padding and checksums
    bytes += static_cast<int64_t>(slice.boxes.size()) * kDatasetOverheadBytes;
  }
  return bytes;
}

Part write_shard(const fs::path& folder, int writer, std::span<const Slice> slices) {
  Part part;
  std::map<std::pair<TensorKind, std::string>, TensorEntry> entries;
  for (const Slice& slice : slices) check_slice(slice);
  if (std::all_of(slices.begin(), slices.end(), [](const Slice& slice) { return slice.boxes.empty(); }))
    return part;
  NewFile file(folder / shard_name(writer));
  std::map<TensorKind, H5Id> groups;
  begin_file(file);
  {
    const Hdf5Lock lock;
    const int64_t number = writer;
    write_attribute(file.hdf5(), file.path(), "writer", {&number, 1});
  }
  for (const Slice& slice : slices) {
    if (slice.boxes.empty()) continue;
    if (!groups.contains(slice.kind)) {
      const Hdf5Lock lock;
      groups.emplace(slice.kind, create_group(file, slice.kind));
    }
    const auto it = entries.find({slice.kind, slice.name});
    const int64_t first = it == entries.end() ? 0 : static_cast<int64_t>(it->second.pieces.size());
    TensorEntry entry = write_slice(file, slice, first);
    if (it == entries.end()) {
      entries.emplace(std::pair(slice.kind, slice.name), std::move(entry));
      continue;
    }
    it->second.hash += entry.hash;
    it->second.pieces.insert(it->second.pieces.end(), entry.pieces.begin(), entry.pieces.end());
  }
  groups.clear();
  part.files.push_back(file.finish());
  for (auto& [key, entry] : entries) part.tensors.push_back(std::move(entry));
  return part;
}

FileEntry write_view(const fs::path& folder, const Manifest& manifest) {
  NewFile file(folder / kViewFile);
  begin_file(file);
  {
    const Hdf5Lock lock;
    for (TensorKind kind : kTensorKinds) {
      const H5Id group = create_group(file, kind);
      for (const TensorEntry& tensor : manifest.tensors) {
        if (tensor.kind == kind) add_virtual_dataset(file, manifest, tensor);
      }
    }
  }
  return file.finish();
}

}  // namespace trine
