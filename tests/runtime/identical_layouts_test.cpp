// What may not change a bit of training: pipeline, schedule, chunks, recomputation, ZeRO (DESIGN.md, section 5).
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>

#include "tests/runtime/local_training.h"

namespace trine {
namespace {

// Two ways to train the same bits: the same tp, dp, sequence parallelism and micro-batch.
struct Base {
  std::string name;
  int tp = 1, dp = 1;
  std::string flags;
};
struct Variant {
  std::string name;
  int pp = 1;
  std::string flags;
};

const std::vector<Base>& bases() {
  static const std::vector<Base> list = {{"one", 1, 1, "--micro-batch 2"},
                                         {"tp2", 2, 1, "--sp off --micro-batch 2"},
                                         {"tp4_sp", 4, 1, "--sp on --micro-batch 3"},
                                         {"dp3", 1, 3, "--micro-batch 1"},
                                         {"dp4", 1, 4, "--micro-batch 1"},
                                         {"tp2_sp_dp2", 2, 2, "--sp on --micro-batch 2"}};
  return list;
}

const std::vector<Variant>& variants() {
  static const std::vector<Variant> list = {
      {"pp2", 2, ""},
      {"pp4", 4, ""},
      {"as_many_layers_pp2", 2, "--stage-split layers"},
      {"layers_and_ends_pp4", 4, "--stage-split layers-and-ends"},
      {"gpipe", 2, "--schedule gpipe"},
      {"zero_bubble", 1, "--schedule zero-bubble"},
      {"zero_bubble_pp2", 2, "--schedule zero-bubble"},
      {"zero_bubble_pp4_selective", 4, "--schedule zero-bubble --recompute selective"},
      {"interleaved_pp2", 2, "--schedule interleaved --vpp 2"},
      {"interleaved_pp4", 4, "--schedule interleaved --vpp 2"},
      {"interleaved_pp2_vpp4", 2, "--schedule interleaved --vpp 4"},
      {"selective", 1, "--recompute selective"},
      {"group", 1, "--recompute group:2"},
      {"full", 1, "--recompute full"},
      {"group_pp4", 4, "--recompute group:2"},
      {"full_interleaved_pp2", 2, "--recompute full --schedule interleaved --vpp 2"},
      {"zero0", 1, "--zero 0"},
      {"zero0_pp2_full", 2, "--zero 0 --recompute full"},
      {"not_in_place", 1, "--disable-pass in-place"},
      {"not_fused", 1, "--disable-pass fuse"},
      {"not_fused_zero_bubble_pp2_full", 2, "--disable-pass fuse --schedule zero-bubble --recompute full"},
  };
  return list;
}

constexpr const char* kModel =
    "--layers 9 --hidden 16 --heads 4 --kv-heads 2 --head-dim 4 --ffn 22 --vocab 67 --seq 7 --global-batch 12 "
    "--steps 6 --threads 1 --tie-embeddings off ";

TrainingRun train(const Base& base, const std::string& dtype, int pp, const std::string& flags) {
  const Config config =
      config_of(base.tp * base.dp * pp, kModel + base.flags + " --dtype " + dtype + " --tp " +
                                            std::to_string(base.tp) + " --pp " + std::to_string(pp) + " " + flags);
  BatchSource batches = [samples = random_batches(config)](int step) {
    Batch batch = samples(step);
    batch.lr = 1e-2f;  // any difference grows
    return batch;
  };
  return train_locally(config, 3, batches);
}

// With AMX oneDNN chooses among kernels whose sums differ in their last bits, also by how far apart rows lie, and an
// op that may not overwrite its input has rows closer together.
bool rows_decide_bits(const std::string& dtype) {
  std::ifstream file("/proc/cpuinfo");
  const std::string cpus(std::istreambuf_iterator<char>(file), {});
  return dtype == "bf16" && cpus.find("amx_bf16") != std::string::npos;
}

class IdenticalLayouts : public testing::TestWithParam<std::tuple<std::string, size_t>> {};

TEST_P(IdenticalLayouts, TrainTheSameBits) {
  const auto& [dtype, index] = GetParam();
  const Base& base = bases()[index];
  const TrainingRun expected = train(base, dtype, 1, "");
  for (const Variant& variant : variants()) {
    if (base.tp * base.dp * variant.pp > 8) continue;  // four stages with tp 1 and 2
    const TrainingRun run = train(base, dtype, variant.pp, variant.flags);
    if (variant.name == "not_in_place" && rows_decide_bits(dtype)) {
      EXPECT_NEAR(run.losses.at(1), expected.losses.at(1), 1e-3) << variant.name;
      continue;
    }
    EXPECT_EQ(run.losses, expected.losses) << variant.name;
    EXPECT_EQ(run.norms, expected.norms) << variant.name;
    EXPECT_TRUE(run.masters == expected.masters) << variant.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Local, IdenticalLayouts,
                         testing::Combine(testing::Values<std::string>("f32", "bf16"),
                                          testing::Range<size_t>(0, bases().size())),
                         [](const auto& test) {
                           return std::get<0>(test.param) + "_" + bases()[std::get<1>(test.param)].name;
                         });

}  // namespace
}  // namespace trine
