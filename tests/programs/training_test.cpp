// The default run: `tiny` on Debian's jargon-text learns as fast as a plain PyTorch model of that shape does
// (4,096 tokens a step, lr 2e-3: 1.78 nats per byte after 300 steps, from 5.55).
#include <nlohmann/json.hpp>
#include <numeric>

#include "tests/programs/run.h"

namespace trine {
namespace {

struct Curve {
  std::vector<double> loss, valid;
  double last_ten() const { return std::accumulate(loss.end() - 10, loss.end(), 0.0) / 10; }
};

class Training : public ProgramTest {
 protected:
  void SetUp() override {
    if (run("cd " + folder_.string() + "; train_llama --eval-only --layers 1 --quiet").code == 3)
      GTEST_SKIP() << "the default text is not installed (scripts/install_packages.sh text)";
  }
  Curve train(const std::string& flags) const {
    const Ran ran = in_folder("train_llama --out out " + flags);
    EXPECT_EQ(ran.code, 0) << ran.text;
    Curve curve;
    std::istringstream text(read_file(folder_ / "out/metrics.jsonl"));
    for (std::string line; std::getline(text, line);) {
      const auto values = nlohmann::json::parse(line);
      if (values.contains("loss")) curve.loss.push_back(values["loss"]);
      if (values.contains("valid_loss")) curve.valid.push_back(values["valid_loss"]);
    }
    std::filesystem::remove_all(folder_ / "out");
    return curve;
  }
};

TEST_F(Training, LearnsEnglishAndValidationFollows) {
  const Curve curve = train("--steps 60 --threads 1");
  EXPECT_NEAR(curve.loss.front(), 5.55, 0.05);  // uniform over 259 tokens
  EXPECT_LT(curve.last_ten(), 2.9);
  ASSERT_FALSE(curve.valid.empty());
  EXPECT_NEAR(curve.valid.back() / curve.last_ten(), 1, 0.06);
}

TEST_F(Training, LongRunOfEachPrecision) {
  const Curve bf16 = train("--dtype bf16"), f32 = train("--dtype f32"), fp16 = train("--dtype fp16");
  ASSERT_EQ(bf16.loss.size(), 300u);
  for (const Curve* curve : {&bf16, &f32, &fp16}) {
    EXPECT_LT(curve->last_ten(), 1.9);
    EXPECT_NEAR(curve->last_ten() / f32.last_ten(), 1, 0.02);
    EXPECT_NEAR(curve->valid.back() / f32.valid.back(), 1, 0.02);
  }
}

}  // namespace
}  // namespace trine
