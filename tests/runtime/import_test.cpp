// Hugging Face's models through a checkpoint: the same weights, the same logits, the same folder again.
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/input_file.h"
#include "checkpoint/export_hugging_face.h"
#include "checkpoint/hugging_face.h"
#include "plan/plan.h"
#include "runtime/checkpointing.h"
#include "runtime/parameters.h"

namespace trine {
namespace {

namespace fs = std::filesystem;

class Import : public testing::TestWithParam<const char*> {
 protected:
  Import() { fs::remove_all(folder_); }
  ~Import() override { fs::remove_all(folder_); }

  fs::path import_as(const char* name, const fs::path& from) const {
    return import_hugging_face(from, folder_ / name, {"", "00"});
  }
  std::vector<std::string> export_as(const char* name, const fs::path& from, const ExportOptions& options) const {
    Checkpoint checkpoint(from);
    return export_hugging_face(checkpoint, folder_ / name, options);
  }

  const fs::path fixture_ = fs::path(TRINE_TEST_DATA) / "hf_llama" / GetParam();
  const fs::path folder_ = fs::temp_directory_path() / fmt::format("trine-import-{}", ::getpid());
};

TEST_P(Import, ComputesTheSameLogits) {
  const SafetensorsFile reference(fixture_ / "reference.safetensors");
  const auto ids = to_vector<int32_t>(reference.tensor("ids")),
             labels = to_vector<int32_t>(reference.tensor("labels"));
  Config config;
  config.model = read_hugging_face_config(fixture_);
  config.global_batch = config.micro_batch = reference.tensor("ids").shape[0];
  config.seq = reference.tensor("ids").shape[1];
  config.dtype = DType::kF32;
  const Plan plan = build_plan(config);
  const auto backend = make_cpu_backend(1);
  TraceRecorder trace(1024);
  Executor executor(plan.stages[0], config, Coordinate{}, *backend, trace);
  const auto logits = [&] {
    const double loss = executor.evaluate({.ids = ids, .labels = labels, .lr = 0, .loss_scale = 1}, 1).loss;
    EXPECT_NEAR(loss / to_vector<double>(reference.tensor("loss"))[0], 1, 1e-6);
    const TensorView view = executor.value_view(plan.stages[0].logits, 0);
    std::vector<float> values;
    for (int64_t row = 0; row < view.rows; ++row) {
      const auto* begin = reinterpret_cast<const float*>(view.data) + row * view.row_stride;
      values.insert(values.end(), begin, begin + view.columns);
    }
    return values;
  };
  set_parameters(executor, hugging_face_values(fixture_.string(), plan), 1);
  const std::vector<float> expected = logits();
  set_parameters(executor, initial_values(plan.stages[0].graph, 1), 1);
  Checkpoint checkpoint(import_as("a", fixture_));
  load_weights(executor, checkpoint);
  EXPECT_EQ(logits(), expected);
}

TEST_P(Import, ExportsTheSameTensors) {
  const std::vector<std::string> report =
      export_as("exported", import_as("a", fixture_), {.max_shard_bytes = 100'000, .dtype = {}, .tokenizer = {}});
  EXPECT_GT(report.size(), 4u);
  const HuggingFaceWeights expected(fixture_), got(folder_ / "exported");
  ASSERT_EQ(got.names(), expected.names());
  for (const std::string& name : got.names()) {
    ASSERT_EQ(got.shape(name), expected.shape(name)) << name;
    EXPECT_EQ(got.type(name), SafeType::kF32);
    std::vector<float> a(static_cast<size_t>(got.shape(name).num_elements())), b(a.size());
    got.read(name, 0, a);
    expected.read(name, 0, b);
    EXPECT_EQ(a, b) << name;
  }
  EXPECT_EQ(read_hugging_face_config(folder_ / "exported"), read_hugging_face_config(fixture_));
}

TEST_P(Import, RoundTripsToTheSameBytes) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    fs::remove_all(folder_);
    const std::vector<std::string> first =
        export_as("first", import_as("a", fixture_), {.max_shard_bytes = 200'000, .dtype = dtype, .tokenizer = {}});
    const std::vector<std::string> second = export_as("second", import_as("b", folder_ / "first"),
                                                      {.max_shard_bytes = 200'000, .dtype = {}, .tokenizer = {}});
    ASSERT_EQ(second, first);
    for (const std::string& file : first)
      EXPECT_EQ(read_text_file(folder_ / "second" / file), read_text_file(folder_ / "first" / file)) << file;
  }
}

INSTANTIATE_TEST_SUITE_P(Models, Import, testing::Values("mha", "gqa_tied_llama3", "head_dim", "deep"),
                         [](const auto& model) { return std::string(model.param); });

}  // namespace
}  // namespace trine
