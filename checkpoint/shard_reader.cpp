#include <cstring>

#include "base/error.h"
#include "checkpoint/fletcher32.h"
#include "checkpoint/shard_file.h"

namespace trine {
namespace {

// Of a path of two names, so that no link leads anywhere else.
bool is_hard_link(hid_t file, const std::string& path) {
  H5L_info_t info;
  return H5Lget_info(file, path.c_str(), &info, H5P_DEFAULT) >= 0 && info.type == H5L_TYPE_HARD;
}

bool only_fletcher32(hid_t creation) {
  if (H5Pget_nfilters(creation) != 1) return false;
  unsigned flags = 0;
  size_t num_values = 0;
  return H5Pget_filter2(creation, 0, &flags, &num_values, nullptr, 0, nullptr, nullptr) == H5Z_FILTER_FLETCHER32;
}

}  // namespace

ShardFile::ShardFile(const std::filesystem::path& path) : file_(File::open(path)), hdf5_(H5File::open(file_)) {}

ShardFile::~ShardFile() = default;

void ShardFile::fail(const std::string& dataset, const std::string& what) const {
  throw DataError(fmt::format("[checkpoint] {}: dataset {}: {}. The file is damaged: use another checkpoint.",
                              file_.path().string(), dataset, what));
}

void ShardFile::check_dataset(hid_t id, const TensorEntry& tensor, const Piece& piece,
                              const ChunkGrid& grid) const {
  const auto& path = file_.path();
  const std::string name = dataset_name(tensor, piece.dataset);
  const H5Id type(H5Dget_type(id), path, "reading a type");
  if (H5Tequal(type, file_type(tensor.dtype)) <= 0)
    fail(name, fmt::format("not of type {}", trine::name(tensor.dtype)));
  const H5Id space(H5Dget_space(id), path, "reading a shape");
  const size_t dims = piece.box.num_dims();
  std::vector<hsize_t> extents(dims), chunk(dims);
  if (H5Sget_simple_extent_ndims(space) != static_cast<int>(dims) ||
      H5Sget_simple_extent_dims(space, extents.data(), nullptr) < 0 ||
      !std::equal(extents.begin(), extents.end(), piece.box.count.begin(), piece.box.count.end(),
                  [](hsize_t a, int64_t b) { return a == static_cast<hsize_t>(b); })) {
    fail(name, fmt::format("not of shape {}", to_string(Shape(piece.box.count))));
  }
  const H5Id creation(H5Dget_create_plist(id), path, "reading a layout");
  if (H5Pget_layout(creation) != H5D_CHUNKED || !only_fletcher32(creation) ||
      H5Pget_chunk(creation, static_cast<int>(dims), chunk.data()) != static_cast<int>(dims) ||
      !std::equal(chunk.begin(), chunk.end(), grid.shape().begin(), grid.shape().end(),
                  [](hsize_t a, int64_t b) { return a == static_cast<hsize_t>(b); })) {
    fail(name, fmt::format("not in chunks of {} with Fletcher32 alone", to_string(Shape(grid.shape()))));
  }
}

// Of a read that the system refused HDF5 says only that something is not there, or is broken.
template <typename F>
void ShardFile::explained(F f) const {
  try {
    f();
  } catch (const DataError&) {
    hdf5_.throw_if_failed();
    throw;
  }
}

void ShardFile::open_dataset(const TensorEntry& tensor, const Piece& piece, const ChunkGrid& grid) {
  std::string name = dataset_name(tensor, piece.dataset);
  if (name == dataset_.name) return;
  dataset_ = {};
  cached_.clear();
  explained([&] { dataset_ = find_dataset(std::move(name), tensor, piece, grid); });
}

ShardFile::Dataset ShardFile::find_dataset(std::string name, const TensorEntry& tensor, const Piece& piece,
                                           const ChunkGrid& grid) const {
  const Hdf5Lock lock;
  if (!is_hard_link(hdf5_, std::string(trine::name(tensor.kind))) || !is_hard_link(hdf5_, name)) {
    fail(name, "is not there");
  }
  H5Id id(H5Dopen2(hdf5_, name.c_str(), H5P_DEFAULT), file_.path(), "opening a dataset");
  check_dataset(id, tensor, piece, grid);
  return {std::move(name), std::move(id)};
}

const std::byte* ShardFile::read_chunk(const Chunk& chunk, int64_t chunk_bytes) {
  const std::vector<hsize_t> start(chunk.box.start.begin(), chunk.box.start.end());
  if (start == cached_) return buffer_.data();
  cached_.clear();
  const size_t stored_bytes = static_cast<size_t>(chunk_bytes) + sizeof(uint32_t);
  buffer_.resize(stored_bytes);
  explained([&] {
    const Hdf5Lock lock;
    hsize_t size = 0;
    uint32_t skipped_filters = 0;
    h5_check(H5Dget_chunk_storage_size(dataset_.id, start.data(), &size), file_.path(), "looking up a chunk");
    if (size != stored_bytes) {
      fail(dataset_.name, fmt::format("a chunk of {} bytes, need {}", size, stored_bytes));
    }
    h5_check(H5Dread_chunk(dataset_.id, H5P_DEFAULT, start.data(), &skipped_filters, buffer_.data()), file_.path(),
             "reading a chunk");
    if (skipped_filters != 0) fail(dataset_.name, "a chunk without checksum");
  });
  uint32_t sum = 0;
  std::memcpy(&sum, buffer_.data() + chunk_bytes, sizeof sum);
  if (sum != fletcher32({buffer_.data(), static_cast<size_t>(chunk_bytes)})) {
    fail(dataset_.name,
         fmt::format("the chunk at {} does not match its checksum", to_string(Shape(chunk.box.start))));
  }
  cached_ = start;
  return buffer_.data();
}

}  // namespace trine
