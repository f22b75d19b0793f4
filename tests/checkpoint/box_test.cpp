#include "checkpoint/box.h"

#include <cstring>
#include <gtest/gtest.h>
#include <numeric>

#include "checkpoint/chunks.h"
#include "checkpoint/hash.h"

namespace trine {
namespace {

std::vector<int64_t> indices(const std::vector<Box>& boxes, const Shape& shape) {
  std::vector<int64_t> list;
  for (const Box& box : boxes) {
    for_each_run(box, Box::whole(shape), [&](int64_t begin, int64_t count) {
      for (int64_t i = 0; i < count; ++i) list.push_back(begin + i);
    });
  }
  return list;
}

TEST(Box, RunsAreTheRowMajorElements) {
  const Shape shape = {3, 4, 5};
  for (int64_t b = 0; b < 60; ++b) {
    for (int64_t e = 0; e < 60; ++e) {
      Box box;
      std::vector<int64_t> want;
      const int64_t low[] = {b / 20, b / 5 % 4, b % 5}, high[] = {e / 20, e / 5 % 4, e % 5};
      if (low[0] > high[0] || low[1] > high[1] || low[2] > high[2]) continue;
      for (int d = 0; d < 3; ++d) box.start.push_back(low[d]), box.count.push_back(high[d] - low[d] + 1);
      for (int64_t i = 0; i < 60; ++i) {
        const int64_t at[] = {i / 20, i / 5 % 4, i % 5};
        bool inside = true;
        for (int d = 0; d < 3; ++d) inside = inside && low[d] <= at[d] && at[d] <= high[d];
        if (inside) want.push_back(i);
      }
      ASSERT_EQ(indices({box}, shape), want) << to_string(box);
    }
  }
}

TEST(Box, ARangeOfAMatrixIsAtMostThreeBoxes) {
  const Shape shape = {7, 9};
  const Box shard{{2, 3}, {4, 5}};
  const std::vector<int64_t> all = indices({shard}, shape);
  for (int64_t begin = 0; begin <= 20; ++begin) {
    for (int64_t end = begin; end <= 20; ++end) {
      const std::vector<Box> boxes = boxes_of_range(shard, begin, end);
      EXPECT_LE(boxes.size(), 3u);
      EXPECT_EQ(indices(boxes, shape), std::vector<int64_t>(all.begin() + begin, all.begin() + end));
    }
  }
  const Box cube{{0, 0, 0}, {3, 4, 5}};
  for (int64_t begin = 0; begin <= 60; ++begin) {
    for (int64_t end = begin; end <= 60; ++end) {
      const std::vector<Box> boxes = boxes_of_range(cube, begin, end);
      EXPECT_LE(boxes.size(), 5u);
      std::vector<int64_t> want(static_cast<size_t>(end - begin));
      std::iota(want.begin(), want.end(), begin);
      EXPECT_EQ(indices(boxes, {3, 4, 5}), want);
    }
  }
}

TEST(Box, PartitionSaysWhatIsMissingAndWhatIsTwice) {
  const Shape shape = {4, 6};
  EXPECT_EQ(partition_problem({{{0, 0}, {4, 3}}, {{0, 3}, {2, 3}}, {{2, 3}, {2, 3}}}, shape), std::nullopt);
  EXPECT_EQ(partition_problem({{{0, 0}, {4, 3}}, {{0, 3}, {2, 3}}}, shape), "18 of 24 elements are there");
  EXPECT_EQ(partition_problem({{{0, 0}, {4, 3}}, {{0, 2}, {4, 3}}}, shape),
            "the elements [0:4,2:3] are there twice");
  EXPECT_EQ(partition_problem({}, shape), "0 of 24 elements are there");
}

TEST(Box, FitsRefusesAnyNumbers) {
  const Shape shape = {4, 6};
  EXPECT_TRUE(fits({{3, 5}, {1, 1}}, shape));
  for (const Box& bad : {Box{{4, 0}, {1, 1}}, Box{{0, 0}, {5, 1}}, Box{{-1, 0}, {1, 1}}, Box{{0, 0}, {0, 1}},
                         Box{{0}, {4}}, Box{{0, INT64_MAX}, {1, INT64_MAX}}, Box{{0, 1}, {1, INT64_MAX}}}) {
    EXPECT_FALSE(fits(bad, shape));
  }
}

TEST(Box, CopiesBetweenBoxesOfAnyWidth) {
  const Box from{{1, 2}, {5, 6}}, to{{0, 3}, {8, 3}}, part{{2, 4}, {3, 2}};
  std::vector<int32_t> source(30), target(24, -1);
  std::iota(source.begin(), source.end(), 0);
  copy_box({reinterpret_cast<std::byte*>(target.data()), to},
           {reinterpret_cast<const std::byte*>(source.data()), from}, part, 4);
  for (int64_t r = 0; r < 8; ++r) {
    for (int64_t c = 0; c < 3; ++c) {
      const bool inside = r >= 2 && r < 5 && c >= 1;
      EXPECT_EQ(target[static_cast<size_t>(r * 3 + c)], inside ? (r - 1) * 6 + c + 1 : -1);
    }
  }
}

TEST(ChunkGrid, ChunksAreRunsOfTheBoxOfAtMostAMebibyte) {
  const std::vector<std::vector<int64_t>> boxes = {{1},          {262144},  {262145},      {3, 400000},
                                                   {1000, 1000}, {5, 1, 7}, {2, 3, 500000}};
  for (const auto& count : boxes) {
    const ChunkGrid grid(count, 4);
    EXPECT_LE(grid.num_elements() * 4, kChunkBytes);
    int64_t at = 0;
    const Box all{std::vector<int64_t>(count.size()), count};
    grid.for_each(all, [&](const Chunk& chunk) {
      EXPECT_EQ(chunk.begin, at);
      int runs = 0;
      for_each_run(chunk.box, all, [&](int64_t begin, int64_t) {
        EXPECT_EQ(begin, at);
        ++runs;
      });
      EXPECT_EQ(runs, 1);
      at += chunk.box.num_elements();
    });
    EXPECT_EQ(at, Shape(count).num_elements());
  }
}

TEST(TensorHash, IsTheFormulaWhateverTheCut) {
  const Shape shape = {11, 13};
  for (size_t element_bytes : {1u, 2u, 4u, 8u}) {
    std::vector<std::byte> data(143 * element_bytes);
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 37 + i / 7);
    uint64_t want = 0;
    for (uint64_t i = 0; i < 143; ++i) {
      uint64_t bits = 0;
      std::memcpy(&bits, data.data() + i * element_bytes, element_bytes);
      uint64_t z = i * 0x9e3779b97f4a7c15u ^ bits;
      for (int round = 0; round < 2; ++round) z = (z ^ (z >> 32)) * 0xd6e8feb86659fd93u;
      want += z ^ (z >> 32);
    }
    EXPECT_EQ(box_hash(data.data(), Box::whole(shape), shape, element_bytes), want);
    EXPECT_EQ(portable_element_hash(data.data(), 0, 143, element_bytes), want);
    uint64_t sum = 0;
    for (const Box& box : {Box{{0, 0}, {11, 6}}, Box{{0, 6}, {4, 7}}, Box{{4, 6}, {7, 7}}}) {
      std::vector<std::byte> part(static_cast<size_t>(box.num_elements()) * element_bytes);
      copy_box({part.data(), box}, {data.data(), Box::whole(shape)}, box, element_bytes);
      sum += box_hash(part.data(), box, shape, element_bytes);
    }
    EXPECT_EQ(sum, want);
    std::swap(data[0], data[element_bytes]);
    EXPECT_NE(box_hash(data.data(), Box::whole(shape), shape, element_bytes), want);
  }
}

TEST(TensorHash, ComesWithACopy) {
  const Shape shape = {9, 30011};  // rows of several blocks
  const Box box = {{2, 7}, {5, 30001}};
  for (size_t element_bytes : {1u, 2u, 4u, 8u}) {
    std::vector<std::byte> data(static_cast<size_t>(box.num_elements()) * element_bytes), copy(data.size() + 1);
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 37 + i / 7);
    EXPECT_EQ(copy_and_hash(data.data(), box, shape, element_bytes, copy.data()),
              box_hash(data.data(), box, shape, element_bytes));
    EXPECT_EQ(copy.back(), std::byte{0});
    copy.pop_back();
    EXPECT_EQ(copy, data);
  }
}

TEST(FileHash, IsXxh3AsXxhsumPrintsIt) {
  EXPECT_EQ(hex(xxh3("")), "2d06800538d394c2");
  EXPECT_EQ(parse_hex("2d06800538d394c2"), 0x2d06800538d394c2u);
  for (const char* bad : {"", "2d06800538d394c", "2D06800538D394C2", "2d06800538d394c2 ", "-d06800538d394c2"}) {
    EXPECT_EQ(parse_hex(bad), std::nullopt);
  }
}

}  // namespace
}  // namespace trine
