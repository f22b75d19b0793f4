// The 20-step curves of tests/data/hf_llama (PyTorch, f32) on several ranks.
#include <cmath>
#include <gtest/gtest.h>

#include "checkpoint/safetensors.h"
#include "plan/learning_rate.h"
#include "plan/plan.h"
#include "tests/runtime/local_training.h"
#include "tests/test_data.h"

namespace trine {
namespace {

struct Layout {
  std::string model;
  std::string flags;
  int pp = 2;
};

class HuggingFaceLayouts : public testing::TestWithParam<Layout> {};

double relative_error(const std::vector<float>& got, const std::vector<float>& want) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += std::pow(double(got.at(i)) - double(want[i]), 2);
    norm += std::pow(double(want[i]), 2);
  }
  return std::sqrt(difference / norm);
}

// Rows of seq + 1 tokens, global_batch of them each step.
BatchSource batches_of(const SafetensorsFile& training, const Config& config) {
  return [&config, tokens = to_vector<int32_t>(training.tensor("batches"))](int step) {
    const auto rows = static_cast<size_t>(config.global_batch), seq = static_cast<size_t>(config.seq);
    Batch batch{.ids = {}, .labels = {}, .lr = static_cast<float>(learning_rate(config, step))};
    for (size_t row = 0; row < rows; ++row) {
      const auto sample =
          tokens.begin() + static_cast<ptrdiff_t>((static_cast<size_t>(step) * rows + row) * (seq + 1));
      batch.ids.insert(batch.ids.end(), sample, sample + static_cast<ptrdiff_t>(seq));
      batch.labels.insert(batch.labels.end(), sample + 1, sample + static_cast<ptrdiff_t>(seq) + 1);
    }
    return batch;
  };
}

TEST_P(HuggingFaceLayouts, TrainingCurve) {
  const Layout& layout = GetParam();
  const std::string folder = test_data() + "/hf_llama/" + layout.model;
  const SafetensorsFile training(folder + "/training.safetensors"), reference(folder + "/reference.safetensors");
  const Shape ids = reference.tensor("ids").shape;
  const Config config = config_of(
      2 * layout.pp, "--model " + folder + " --tp 2 --pp " + std::to_string(layout.pp) + " --global-batch " +
                         std::to_string(ids[0]) + " --seq " + std::to_string(ids[1]) +
                         " --micro-batch 1 --dtype f32 --steps 20 --warmup 4 --lr 3e-3 --min-lr 3e-4 "
                         "--threads 1 " +
                         layout.flags);
  const auto losses = to_vector<double>(training.tensor("loss")),
             norms = to_vector<double>(training.tensor("grad_norm"));
  ASSERT_EQ(losses.size(), 20u);
  const TrainingRun run =
      train_locally(config, 20, batches_of(training, config), hugging_face_values(folder, build_plan(config)));
  for (size_t step = 0; step < losses.size(); ++step) {
    EXPECT_NEAR(run.losses[step] / losses[step], 1, 1e-5) << "step " << step;
    EXPECT_NEAR(run.norms[step] / norms[step], 1, step == 0 ? 1e-5 : 1e-4) << "step " << step;
  }
  size_t compared = 0;
  for (const auto& [name, tensor] : training.tensors()) {
    if (!name.starts_with("final.")) continue;
    EXPECT_LT(relative_error(run.masters.at(name.substr(6)), to_vector<float>(tensor)), 3e-5) << name;
    ++compared;
  }
  EXPECT_EQ(compared, run.masters.size());
}

INSTANTIATE_TEST_SUITE_P(Models, HuggingFaceLayouts,
                         testing::Values(Layout{"mha", "--sp off", 2}, Layout{"gqa_tied_llama3", "--sp on", 2},
                                         Layout{"head_dim", "--schedule zero-bubble", 2},
                                         Layout{"deep", "--schedule interleaved --vpp 2 --recompute full", 2},
                                         Layout{"deep", "", 8}),
                         [](const auto& test) { return test.param.model + "_pp" + std::to_string(test.param.pp); });

}  // namespace
}  // namespace trine
