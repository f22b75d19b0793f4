#include "base/shape.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "base/mesh.h"

namespace trine {
namespace {

TEST(Shape, CountsElementsRowsAndColumns) {
  const Shape shape{2, 3, 4};
  EXPECT_EQ(shape.num_elements(), 24);
  EXPECT_EQ(shape.num_rows(), 6);
  EXPECT_EQ(shape.num_columns(), 4);
  EXPECT_EQ(to_string(shape), "[2,3,4]");
  EXPECT_EQ(Shape{}.num_elements(), 1) << "a scalar";
  EXPECT_EQ(to_string(Shape{}), "[]");
  EXPECT_THROW((void)shape[3], std::out_of_range);
}

TEST(Shape, HasAsManyDimsAsAFileMayName) {
  Shape many({2, 1, 3, 1, 5, 7});
  EXPECT_EQ(many.num_dims(), 6);
  EXPECT_EQ(many.num_elements(), 210);
  EXPECT_EQ(many.num_columns(), 7);
  const Shape copy = many;
  many[5] = 8;
  EXPECT_EQ(to_string(many), "[2,1,3,1,5,8]");
  EXPECT_EQ(to_string(copy), "[2,1,3,1,5,7]");
  EXPECT_NE(many, copy);
  EXPECT_NE(Shape({2, 1, 3, 1}), Shape({2, 1, 3, 1, 1}));
  EXPECT_EQ(Shape(std::vector<int64_t>{2, 3}), (Shape{2, 3}));
  EXPECT_THROW((void)copy[-1], std::out_of_range);
  EXPECT_THROW((void)copy[6], std::out_of_range);
}

TEST(Split, CoversEverythingOnceInOrder) {
  for (int64_t n = 1; n <= 40; ++n)
    for (int64_t k = 1; k <= 12; ++k) {
      int64_t next = 0;
      bool none_empty = true;
      for (int64_t index = 0; index < k; ++index) {
        EXPECT_EQ(split_begin(n, k, index), next);
        const int64_t size = split_size(n, k, index);
        EXPECT_LE(size, (n + k - 1) / k);
        none_empty &= size > 0;
        next += size;
      }
      EXPECT_EQ(next, n);
      EXPECT_EQ(split_is_valid(n, k), none_empty) << n << " over " << k;
    }
  EXPECT_THROW(split_size(4, 2, 2), CheckError);
  EXPECT_FALSE(split_is_valid(4, 0));
  EXPECT_FALSE(split_is_valid(0, 1));
}

TEST(Split, MakesTheFirstPartsFull) {
  EXPECT_EQ(split_size(13, 4, 0), 4);
  EXPECT_EQ(split_size(13, 4, 3), 1);
  EXPECT_FALSE(split_is_valid(9, 6)) << "2 2 2 2 1 and nothing";
}

TEST(Division, IsExactOrRoundedUp) {
  EXPECT_EQ(div_exact(12, 4, "heads / tp"), 3);
  EXPECT_THAT([] { div_exact(12, 5, "heads / tp"); },
              testing::ThrowsMessage<CheckError>(testing::HasSubstr("heads / tp: 12 is not a multiple of 5")));
  EXPECT_EQ(div_up(13, 4), 4);
  EXPECT_EQ(round_up(13, 4), 16);
  EXPECT_EQ(round_up(16, 4), 16);
}

TEST(Mesh, NumbersRanksWithTpFastest) {
  const Mesh mesh{.pp = 2, .dp = 3, .tp = 4};
  EXPECT_EQ(mesh.num_ranks(), 24);
  for (int rank = 0; rank < mesh.num_ranks(); ++rank) EXPECT_EQ(mesh.rank(mesh.coordinate(rank)), rank);
  EXPECT_EQ(mesh.coordinate(1), (Coordinate{0, 0, 1}));
  EXPECT_EQ(mesh.coordinate(4), (Coordinate{0, 1, 0}));
  EXPECT_EQ(mesh.coordinate(12), (Coordinate{1, 0, 0}));
}

TEST(Mesh, GroupsRanksAlongAnAxis) {
  const Mesh mesh{.pp = 2, .dp = 3, .tp = 4};
  const Coordinate c{1, 2, 3};
  EXPECT_THAT(mesh.group(c, Axis::kTp), testing::ElementsAre(20, 21, 22, 23));
  EXPECT_THAT(mesh.group(c, Axis::kDp), testing::ElementsAre(15, 19, 23));
  EXPECT_THAT(mesh.group(c, Axis::kPp), testing::ElementsAre(11, 23));
}

}  // namespace
}  // namespace trine
