// Hugging Face's models through a checkpoint: the same weights, the same logits, the same folder again.
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/input_file.h"
#include "checkpoint/export_hugging_face.h"
#include "checkpoint/hugging_face.h"
#include "plan/plan.h"
#include "runtime/state/checkpointing.h"
#include "runtime/state/parameters.h"
#include "tests/test_data.h"

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

  const fs::path fixture_ = fs::path(test_data()) / "hf_llama" / GetParam();
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
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
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

// Weights of one type, under a config.json that does not name it: the type is that of the weights.
class ImportTypes : public testing::Test {
 protected:
  ~ImportTypes() override { fs::remove_all(folder_); }
  template <typename T>
  Checkpoint import_all(float value) const {
    fs::create_directories(folder_ / "hf");
    nlohmann::json config = nlohmann::json::parse(read_text_file(fixture_ / "config.json"));
    config.erase("dtype"), config.erase("torch_dtype");
    std::ofstream(folder_ / "hf/config.json") << config;
    std::vector<SafetensorsEntry> entries;
    std::vector<std::vector<T>> values;
    const std::vector<Parameter> parameters = model_parameters(read_hugging_face_config(fixture_));
    for (const Parameter& parameter : parameters) {
      values.emplace_back(static_cast<size_t>(parameter.shape.num_elements()), from_float<T>(value));
      entries.push_back({parameter.name,
                         {.type = safe_type(kDTypeOf<T>),
                          .shape = parameter.shape,
                          .bytes = std::as_bytes(std::span(values.back()))}});
    }
    write_safetensors(folder_ / "hf/model.safetensors", std::move(entries));
    fs::remove_all(folder_ / "all");
    return Checkpoint(import_hugging_face(folder_ / "hf", folder_ / "all", {"", "00"}));
  }

  const fs::path fixture_ = fs::path(test_data()) / "hf_llama" / "mha";
  const fs::path folder_ = fs::temp_directory_path() / fmt::format("trine-import-types-{}", ::getpid());
};

TEST_F(ImportTypes, AreKept) {
  EXPECT_EQ(saved_model(import_all<float>(1)).dtype, DType::kF32);
  EXPECT_EQ(saved_model(import_all<BFloat16>(1)).dtype, DType::kBF16);
  Checkpoint halves = import_all<Float16>(1);
  EXPECT_EQ(saved_model(halves).dtype, DType::kF16);
  export_hugging_face(halves, folder_ / "out", {});
  EXPECT_EQ(HuggingFaceWeights(folder_ / "out").type("model.norm.weight"), SafeType::kF16);
  EXPECT_EQ(read_text_file(folder_ / "out/model.safetensors"), read_text_file(folder_ / "hf/model.safetensors"));
}

TEST_F(ImportTypes, WhatATypeCannotHoldIsAnError) {
  Checkpoint large = import_all<float>(65536);  // f16 ends at 65504
  EXPECT_NO_THROW(export_hugging_face(large, folder_ / "bf16", {.dtype = DType::kBF16, .tokenizer = {}}));
  EXPECT_THROW(export_hugging_face(large, folder_ / "f16", {.dtype = DType::kF16, .tokenizer = {}}), DataError);
  EXPECT_FALSE(fs::exists(folder_ / "f16/config.json"));
}

}  // namespace
}  // namespace trine
