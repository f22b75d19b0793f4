// What a checkpoint's manifest says about its model is input: the tools refuse what does not fit.
#include "checkpoint/saved_model.h"

#include <fstream>
#include <gmock/gmock.h>
#include <unistd.h>

#include "checkpoint/compare.h"
#include "checkpoint/export_hugging_face.h"
#include "checkpoint/reshard.h"
#include "tests/test_data.h"

namespace trine {
namespace {

namespace fs = std::filesystem;

class SavedModelTest : public testing::Test {
 protected:
  SavedModelTest() {
    fs::remove_all(folder_);
    path_ = import_hugging_face(fs::path(test_data()) / "hf_llama/mha", folder_, {"", "00"});
  }
  ~SavedModelTest() override { fs::remove_all(folder_); }

  template <typename Change>
  Checkpoint changed(Change change) const {
    Manifest manifest = load_manifest(path_);
    change(manifest);
    std::ofstream(path_ / kManifestFile) << write_manifest(manifest);
    return Checkpoint(path_);
  }

  const fs::path folder_ = fs::temp_directory_path() / fmt::format("trine-saved-model-{}", ::getpid());
  fs::path path_;
};

TEST_F(SavedModelTest, IsThatOfTheConfig) {
  const SavedModel model = saved_model(Checkpoint(path_));
  EXPECT_EQ(model.config, read_hugging_face_config(fs::path(test_data()) / "hf_llama/mha"));
  EXPECT_EQ(model.dtype, DType::kF32);
  EXPECT_EQ(model.parameters.size(), 9u * 2 + 3);
  EXPECT_EQ(model.parameters[0].name, "model.embed_tokens.weight");
}

TEST_F(SavedModelTest, ImportedMomentsAreZero) {
  Checkpoint checkpoint(path_);
  for (const TensorKind kind : {TensorKind::kMomentum, TensorKind::kVariance})
    for (const Parameter& parameter : saved_model(checkpoint).parameters) {
      std::vector<float> values(static_cast<size_t>(parameter.shape.num_elements()), 1);
      const std::vector<Box> whole = {Box::whole(parameter.shape)};
      checkpoint.read(checkpoint.tensor(kind, parameter.name), whole, std::span(values));
      EXPECT_EQ(values, std::vector<float>(values.size(), 0)) << parameter.name;
    }
}

TEST_F(SavedModelTest, ManipulatedConfigsAreDataErrors) {
  const Manifest original = load_manifest(path_);
  const std::pair<const char*, nlohmann::json> wrong[] = {{"layers", int64_t{1} << 40},
                                                          {"layers", 3},
                                                          {"layers", 1},
                                                          {"layers", nullptr},
                                                          {"hidden", "wide"},
                                                          {"hidden", 65},
                                                          {"vocab", -1},
                                                          {"heads", {4, 4}},
                                                          {"kv-heads", 3},
                                                          {"head-dim", 0},
                                                          {"tie-embeddings", true},
                                                          {"rope-theta", "x"},
                                                          {"dtype", "fp8"},
                                                          {"seq", 0},
                                                          {"eos", {{"a", 1}}},
                                                          {"max-position", 1e300},
                                                          {"norm-eps", -1},
                                                          {"ffn", int64_t{1} << 62}};
  for (const auto& [field, value] : wrong) {
    const Checkpoint checkpoint = changed([&, field = field, value = value](Manifest& manifest) {
      manifest = original;
      manifest.config[field] = value;
    });
    EXPECT_THROW(saved_model(checkpoint), DataError) << field << ": " << value;
  }
  EXPECT_THROW(saved_model(changed([&](Manifest& m) { m = original, m.config = nlohmann::json::object(); })),
               DataError);
  EXPECT_THROW(saved_model(changed(
                   [&](Manifest& m) { m = original, m.tensors.pop_back(), m.tensors.erase(m.tensors.begin()); })),
               DataError);
  EXPECT_NO_THROW(saved_model(changed([&](Manifest& m) { m = original; })));
}

TEST_F(SavedModelTest, ReshardAndExportKeepWhatIsThere) {
  Checkpoint checkpoint(path_);
  EXPECT_THROW(reshard(checkpoint, folder_, {}), ConfigError) << "step-000000 is there";
  EXPECT_THROW(reshard(checkpoint, folder_ / "new", {.tp = 3}), ConfigError);
  EXPECT_THROW(reshard(checkpoint, folder_ / "new", {.pp = 5}), ConfigError);
  EXPECT_THROW(reshard(checkpoint, folder_ / "new", {.dp = 0}), ConfigError);
  EXPECT_FALSE(fs::exists(folder_ / "new"));
  EXPECT_THROW(export_hugging_face(checkpoint, path_, {}), ConfigError);
  EXPECT_TRUE(Checkpoint(path_).verify().empty());
}

TEST_F(SavedModelTest, ComparisonNamesWhatDiffers) {
  const Manifest a = load_manifest(path_);
  EXPECT_TRUE(compare(a, a).same());
  Manifest b = a;
  b.layout.tp = 2, b.config["lr"] = 7, b.config.erase("seed");
  Comparison found = compare(a, b);
  EXPECT_TRUE(found.same()) << "layout and configuration are only told";
  ASSERT_EQ(found.layout.size(), 1u);
  EXPECT_EQ(found.layout[0].field, "tp");
  ASSERT_EQ(found.config.size(), 2u);
  b.tensors[3].hash ^= 1, b.tensors.pop_back(), b.state.clean_steps = 5;
  found = compare(a, b);
  EXPECT_FALSE(found.same());
  ASSERT_EQ(found.tensors.size(), 2u);
  EXPECT_EQ(found.tensors[0].tensor, a.tensors[3].name);
  EXPECT_EQ(found.tensors[1].what, "only in the first");
  ASSERT_EQ(found.state.size(), 1u);
  EXPECT_EQ(found.state[0].field, "clean_steps");
}

}  // namespace
}  // namespace trine
