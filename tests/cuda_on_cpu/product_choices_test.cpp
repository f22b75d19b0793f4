// Which algorithm a product runs by, by clocks that the test sets.
#include "kernels/cuda/product_choices.h"

#include <fstream>
#include <gmock/gmock.h>
#include <limits>
#include <unistd.h>

namespace trine::cuda {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

class ProductChoicesTest : public testing::Test {
 protected:
  ProductChoicesTest() : folder_(fs::temp_directory_path() / ("trine-choices-" + std::to_string(::getpid()))) {
    fs::remove_all(folder_);
  }
  ~ProductChoicesTest() override { fs::remove_all(folder_); }

  ProductChoices::Options options(const std::string& machine = "H100, cuBLASLt 13") const {
    return {.file = folder_ / "cache" / "products.json", .machine = machine, .most_seconds = 1};
  }
  size_t choose(ProductChoices& choices, const std::string& problem, const std::vector<double>& seconds) {
    std::vector<std::string> names;
    for (size_t i = 0; i < seconds.size(); ++i) names.push_back("algorithm " + std::to_string(i));
    return choices.choose(problem, names, [&](size_t i) {
      ++trials_;
      return seconds[i];
    });
  }

  const fs::path folder_;
  int trials_ = 0;
};

TEST_F(ProductChoicesTest, TheFastestIsKeptForTheProcessAndTheNext) {
  ProductChoices first(options());
  first.open();
  EXPECT_EQ(choose(first, "a", {3e-3, 1e-3, 2e-3}), 1u);
  EXPECT_EQ(choose(first, "b", {1e-3, std::numeric_limits<double>::infinity()}), 0u);
  first.close();
  EXPECT_EQ(trials_, 5);
  EXPECT_EQ(choose(first, "a", {3e-3, 1e-3, 2e-3}), 1u);
  EXPECT_EQ(first.text(), "2 products timed in 0.0 s, 1 known");

  ProductChoices second(options());
  second.open();
  EXPECT_EQ(choose(second, "a", {1e-3, 9e-3, 2e-3}), 1u);  // known: not timed again
  EXPECT_EQ(trials_, 5);
  // What is kept is the algorithm, wherever the library names it.
  const std::vector<std::string> others = {"algorithm 7", "algorithm 2", "algorithm 1"};
  EXPECT_EQ(second.choose("a", others, [](size_t) { return 1.0; }), 2u);
  EXPECT_TRUE(first.notices().empty() && second.notices().empty());
}

TEST_F(ProductChoicesTest, NothingIsTimedInTheMiddleOfAStep) {
  ProductChoices choices(options());
  EXPECT_EQ(choose(choices, "a", {3e-3, 1e-3}), 0u);
  choices.open();
  choices.close();
  EXPECT_EQ(choose(choices, "a", {3e-3, 1e-3}), 0u);
  EXPECT_EQ(trials_, 0);
  EXPECT_FALSE(fs::exists(folder_));
}

TEST_F(ProductChoicesTest, AllTrialsTakeSomeSecondsAtMost) {
  ProductChoices choices(options());  // of 1 s
  choices.open();
  EXPECT_EQ(choose(choices, "a", {0.2, 0.1}), 1u);  // each run 4 times: 1.2 s
  EXPECT_EQ(choose(choices, "b", {0.2, 0.1}), 0u);
  choices.close();
  ProductChoices next(options());
  next.open();
  EXPECT_EQ(choose(next, "a", {0.1, 0.2}), 1u);
  EXPECT_EQ(choose(next, "b", {0.2, 0.1}), 1u) << "what was not timed is not kept";
}

TEST_F(ProductChoicesTest, AnotherMachineHasChoicesOfItsOwn) {
  for (const auto& [machine, best] : {std::pair{"H100", 1u}, {"RTX 4090", 0u}, {"H100", 1u}}) {
    ProductChoices choices(options(machine));
    choices.open();
    EXPECT_EQ(choose(choices, "a", {best == 0 ? 1e-3 : 2e-3, best == 1 ? 1e-3 : 2e-3}), best);
    choices.close();
  }
  EXPECT_EQ(trials_, 4);
}

// Ranks that hold the same weights compute by the same algorithms, whatever each has timed.
TEST_F(ProductChoicesTest, ARankAdoptsWhatAnotherChose) {
  ProductChoices first({.file = {}, .machine = "H100"}), second({.file = {}, .machine = "H100"});
  for (ProductChoices* choices : {&first, &second}) choices->open();
  EXPECT_EQ(choose(first, "a", {3e-3, 1e-3}), 1u);
  EXPECT_EQ(choose(second, "a", {1e-3, 3e-3}), 0u);
  EXPECT_EQ(choose(second, "own", {3e-3, 1e-3}), 1u);
  for (ProductChoices* choices : {&first, &second}) choices->close();
  const int before = second.version();
  second.adopt(first.table());
  EXPECT_NE(second.version(), before);
  EXPECT_EQ(choose(second, "a", {1e-3, 3e-3}), 1u);
  EXPECT_EQ(choose(second, "own", {3e-3, 1e-3}), 1u);
  ProductChoices other({.file = {}, .machine = "RTX 4090"});
  other.adopt(first.table());
  EXPECT_EQ(choose(other, "a", {1e-3, 3e-3}), 0u) << "another GPU's choices are not its own";
}

TEST_F(ProductChoicesTest, AFileThatIsNoneIsSaidAndReplaced) {
  for (const char* text : {"{ not json", "[1, 2]", "{\"H100, cuBLASLt 13\": 5}"}) {
    fs::create_directories(folder_ / "cache");
    std::ofstream(folder_ / "cache" / "products.json") << text;
    ProductChoices choices(options());
    choices.open();
    EXPECT_EQ(choices.notices().size(), 1u) << text;
    EXPECT_EQ(choose(choices, "a", {3e-3, 1e-3}), 1u);
    choices.close();
    ProductChoices next(options());
    next.open();
    EXPECT_TRUE(next.notices().empty());
    EXPECT_EQ(choose(next, "a", {1e-3, 3e-3}), 1u);
  }
}

TEST_F(ProductChoicesTest, AFolderThatCannotBeIsANotice) {
  std::ofstream(folder_) << "a file";
  ProductChoices choices(options());
  choices.open();
  EXPECT_EQ(choose(choices, "a", {3e-3, 1e-3}), 1u);
  choices.close();
  ASSERT_FALSE(choices.notices().empty());
  EXPECT_THAT(*choices.notices().begin(), HasSubstr("[products]"));
  ProductChoices nowhere({.file = {}, .machine = "x"});
  nowhere.open();
  EXPECT_EQ(choose(nowhere, "a", {3e-3, 1e-3}), 1u);
  nowhere.close();
  EXPECT_TRUE(nowhere.notices().empty());
}

}  // namespace
}  // namespace trine::cuda
