#include "plan/printing/layout_grid.h"

#include <gmock/gmock.h>

namespace trine {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(LayoutGrid, ShowsRanksAndHosts) {
  const Mesh mesh{.pp = 2, .dp = 2, .tp = 2};
  EXPECT_EQ(layout_grid(mesh),
            "  pp 0: dp 0: 0-1, dp 1: 2-3\n"
            "  pp 1: dp 0: 4-5, dp 1: 6-7\n");
  EXPECT_EQ(layout_grid(mesh, std::vector<std::string>(8, "n1")),
            "  pp 0: dp 0: 0-1, dp 1: 2-3\n"
            "  pp 1: dp 0: 4-5, dp 1: 6-7\n"
            "  all on n1\n");
  EXPECT_EQ(layout_grid(mesh, {"n1", "n1", "n1", "n2", "n2", "n2", "n2", "n2"}),
            "  pp 0: dp 0: 0-1 (n1), dp 1: 2-3 (n1, n2)\n"
            "  pp 1: dp 0: 4-5 (n2), dp 1: 6-7 (n2)\n");
  EXPECT_EQ(layout_grid({.pp = 1, .dp = 1, .tp = 6}, {"a", "b", "c", "d", "e", "f"}),
            "  pp 0: dp 0: 0-5 (a, b, ..., f)\n");
  EXPECT_EQ(layout_grid({.pp = 1, .dp = 20, .tp = 1}),
            "  pp 0: dp 0: 0, dp 1: 1, dp 2: 2, dp 3: 3, dp 4: 4, dp 5: 5, dp 6: 6, ..., dp 19: 19\n");
}

TEST(HostWarnings, SayWhichTpGroupsAreApart) {
  const Mesh mesh{.pp = 1, .dp = 2, .tp = 2};
  EXPECT_THAT(host_warnings(mesh, {}), IsEmpty());
  EXPECT_THAT(host_warnings(mesh, {"n1", "n1", "n2", "n2"}), IsEmpty());
  // Dealt out in turn, as by --map-by node: another order would do.
  EXPECT_THAT(
      host_warnings(mesh, {"n1", "n2", "n1", "n2"}),
      ElementsAre(AllOf(HasSubstr("2 of 2 tp groups have ranks on several hosts, such as ranks 0-1 on n1, n2"),
                        HasSubstr("--map-by slot"))));
  // Three ranks on each host: no order brings four together.
  EXPECT_THAT(
      host_warnings({.pp = 3, .dp = 1, .tp = 4}, {"a", "a", "a", "b", "b", "b", "c", "c", "c", "d", "d", "d"}),
      ElementsAre(AllOf(HasSubstr("3 of 3 tp groups"), HasSubstr("Lower --tp to 1"),
                        HasSubstr("a multiple of 4 ranks on each host"))));
  EXPECT_THAT(host_warnings({.pp = 1, .dp = 1, .tp = 8}, {"a", "a", "a", "a", "b", "b", "b", "b"}),
              ElementsAre(HasSubstr("Lower --tp to 4,")));
}

}  // namespace
}  // namespace trine
