#include "checkpoint/fletcher32.h"

#include <cstring>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <vector>

#include "checkpoint/hdf5.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

// What HDF5's own filter writes behind a chunk.
uint32_t hdf5_fletcher32(const std::vector<uint8_t>& data, const std::filesystem::path& path) {
  const Hdf5Lock lock;
  const H5Id file(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT), path, "create");
  const hsize_t size = data.size(), start = 0;
  const H5Id space(H5Screate_simple(1, &size, nullptr), path, "space");
  const H5Id creation(H5Pcreate(H5P_DATASET_CREATE), path, "plist");
  H5Pset_chunk(creation, 1, &size);
  H5Pset_fletcher32(creation);
  const H5Id dataset(H5Dcreate2(file, "d", H5T_NATIVE_UINT8, space, H5P_DEFAULT, creation, H5P_DEFAULT), path,
                     "dataset");
  H5Dwrite(dataset, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, data.data());
  H5Dflush(dataset);
  std::vector<uint8_t> stored(data.size() + 4);
  uint32_t mask = 0, sum = 0;
  h5_check(H5Dread_chunk(dataset, H5P_DEFAULT, &start, &mask, stored.data()), path, "read chunk");
  std::memcpy(&sum, stored.data() + data.size(), 4);
  return sum;
}

TEST(Fletcher32, IsThatOfHdf5) {
  const testing::ScratchFolder scratch;
  uint64_t random = 1;
  std::vector<size_t> sizes = {1000, 4096, 11520, 11521, 11552, 23040, 65537, 1 << 20};
  for (size_t size = 1; size < 80; ++size) sizes.push_back(size);
  for (size_t size : sizes) {
    std::vector<uint8_t> data(size);
    for (uint8_t& byte : data) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      byte = static_cast<uint8_t>(random >> 56);
    }
    // Random bytes; the sums that are 0 mod 65535; the largest sums.
    for (int kind = 0; kind < 4; ++kind) {
      if (kind == 1) std::fill(data.begin(), data.end(), uint8_t{0});
      if (kind == 2) std::fill(data.begin(), data.end(), uint8_t{0xff});
      if (kind == 3) std::fill(data.begin(), data.end(), uint8_t{0}), data[size / 2] = 1;
      const uint32_t want = hdf5_fletcher32(data, scratch / "f.h5");
      const auto bytes = std::as_bytes(std::span(data));
      EXPECT_EQ(fletcher32(bytes), want) << size << " bytes of kind " << kind;
      EXPECT_EQ(portable_fletcher32(bytes), want) << size << " bytes of kind " << kind;
    }
  }
}

}  // namespace
}  // namespace trine
