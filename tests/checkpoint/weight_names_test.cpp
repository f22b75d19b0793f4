// Weights as other programs store them: what is the model's is read, anything else is named in a line or two.
#include "checkpoint/weight_names.h"

#include <filesystem>
#include <gmock/gmock.h>
#include <unistd.h>

#include "checkpoint/hugging_face.h"
#include "tests/test_data.h"

namespace trine {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using Weights = std::map<std::string, Shape>;
using Rename = std::function<std::string(const std::string&)>;

LlamaConfig fixture(const char* name) {
  return read_hugging_face_config(fs::path(test_data()) / "hf_llama" / name);
}

// All tensors of the model, renamed.
Weights renamed(const LlamaConfig& model, const Rename& rename) {
  Weights weights;
  for (const Parameter& parameter : model_parameters(model))
    weights.emplace(rename(parameter.name), parameter.shape);
  return weights;
}
Rename with_prefix(const std::string& prefix) {
  return [=](const std::string& name) { return prefix + name; };
}
// "model.layers.0.self_attn..." -> "model.layers.0.PART.self_attn..."
Rename within_layers(const std::string& part) {
  return [=](std::string name) {
    if (!name.starts_with("model.layers.")) return name;
    return name.insert(name.find('.', 13) + 1, part);
  };
}
std::string misfit_of(const char* name, const Rename& rename) {
  const LlamaConfig model = fixture(name);
  return misfit(renamed(model, rename), model_parameters(model));
}
size_t lines(const std::string& text) { return static_cast<size_t>(std::ranges::count(text, '\n')); }

TEST(WeightNames, TheModelsOwnFit) {
  for (const char* name : {"mha", "gqa_tied_llama3", "deep"})
    EXPECT_EQ(misfit_of(name, with_prefix("")), "") << name;
  Weights old = renamed(fixture("mha"), with_prefix(""));
  old.emplace("model.layers.0.self_attn.rotary_emb.inv_freq", Shape{16});
  EXPECT_EQ(misfit(old, model_parameters(fixture("mha"))), "");
}

// A tied weight may be stored under either name, or both.
TEST(WeightNames, ATiedHeadMayBeTheOnlyOne) {
  const LlamaConfig model = fixture("gqa_tied_llama3");
  Weights weights = renamed(model, with_prefix(""));
  weights.emplace(kHead, weights.at(kEmbedding));
  EXPECT_EQ(misfit(weights, model_parameters(model)), "");
  weights.erase(kEmbedding);
  EXPECT_EQ(misfit(weights, model_parameters(model)), "");
  weights.at(kHead) = Shape{1, 2};
  EXPECT_THAT(misfit(weights, model_parameters(model)),
              HasSubstr("lm_head.weight has shape [1,2], the model needs"));
  weights.erase(kHead);
  EXPECT_THAT(misfit(weights, model_parameters(model)), HasSubstr("model.embed_tokens.weight is missing"));
  // The other way round a head is missing that nothing replaces.
  Weights untied = renamed(fixture("mha"), with_prefix(""));
  untied.erase(kHead);
  EXPECT_THAT(misfit(untied, model_parameters(fixture("mha"))), HasSubstr("\"tie_word_embeddings\": true"));
  untied.emplace(kHead, untied.at(kEmbedding)), untied.erase(kEmbedding);
  EXPECT_THAT(misfit(untied, model_parameters(fixture("mha"))), HasSubstr("model.embed_tokens.weight is missing"));
}

TEST(WeightNames, APrefixIsNamedOnce) {
  for (const char* name : {"mha", "gqa_tied_llama3"})
    for (const std::string prefix :
         {"_orig_mod.", "module.", "model.", "module._orig_mod.", "base_model.model.", "llama."}) {
      const std::string text = misfit_of(name, with_prefix(prefix));
      EXPECT_THAT(text, AllOf(HasSubstr("all names begin with \"" + prefix + "\""), Not(HasSubstr("missing"))))
          << name;
      EXPECT_EQ(lines(text), 1u) << text;
    }
  EXPECT_THAT(misfit_of("gqa_tied_llama3", with_prefix("model.")),
              HasSubstr("\"model.model.embed_tokens.weight\" is there"));
  for (const std::string wrapper :
       {"_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module.", "module."}) {
    const std::string text = misfit_of("mha", within_layers(wrapper));
    EXPECT_THAT(text, HasSubstr("names contain \"" + wrapper + "\", as in \"model.layers.0." + wrapper));
    EXPECT_EQ(lines(text), 1u) << text;
  }
  const std::string headless = misfit_of("mha", [](const std::string& name) {
    return name == kHead ? "layers.7.x" : name.substr(std::string("model.").size());
  });
  EXPECT_THAT(headless, HasSubstr("no name begins with \"model.\""));
}

TEST(WeightNames, OtherFormsAreNamedAndLongListsCut) {
  const auto with = [](const char* name) {
    Weights weights = renamed(fixture("deep"), with_prefix(""));
    weights.emplace(name, Shape{2});
    return misfit(weights, model_parameters(fixture("deep")));
  };
  EXPECT_THAT(with("tok_embeddings.weight"), HasSubstr("Meta's own files"));
  EXPECT_THAT(with("model.layers.0.self_attn.q_proj.lora_A.weight"), HasSubstr("LoRA adapter"));
  EXPECT_THAT(with("model.layers.0.self_attn.q_proj.qweight"), HasSubstr("quantised"));
  EXPECT_THAT(with("model.layers.0.self_attn.q_proj.bias"), HasSubstr("q_proj.bias is no parameter of this model"));
  // Another model altogether.
  const std::string text = misfit_of("deep", [](const std::string& name) { return "x" + name; });
  EXPECT_EQ(lines(text), 9u) << text;
  EXPECT_THAT(text, HasSubstr(" more"));
  EXPECT_EQ(misfit({}, model_parameters(fixture("mha"))), "\n  there are no tensors.");
}

class TiedFolder : public testing::Test {
 protected:
  // The tied fixture in one file, with these tensors for the embedding and the head; empty: left out.
  HuggingFaceWeights open(const std::vector<float>& embedding, const std::vector<float>& head) const {
    fs::create_directories(folder_);
    std::vector<SafetensorsEntry> entries;
    const auto add = [&](const std::string& name, const Shape& shape, const std::vector<float>& values) {
      if (!values.empty())
        entries.push_back(
            {name, {.type = SafeType::kF32, .shape = shape, .bytes = std::as_bytes(std::span(values))}});
    };
    std::vector<std::vector<float>> others;
    for (const Parameter& parameter : model_parameters(model_))
      others.emplace_back(static_cast<size_t>(parameter.shape.num_elements()), 0.5f);
    size_t i = 0;
    for (const Parameter& parameter : model_parameters(model_)) {
      const bool tied = parameter.name == kEmbedding;
      add(parameter.name, parameter.shape, tied ? embedding : others[i]);
      if (tied) add(kHead, parameter.shape, head);
      ++i;
    }
    write_safetensors(folder_ / "model.safetensors", std::move(entries));
    return HuggingFaceWeights(folder_);
  }
  ~TiedFolder() override { fs::remove_all(folder_); }

  const LlamaConfig model_ = fixture("gqa_tied_llama3");
  const size_t size_ = static_cast<size_t>(model_.vocab * model_.hidden);
  const fs::path folder_ = fs::temp_directory_path() / fmt::format("trine-tied-{}", ::getpid());
};

TEST_F(TiedFolder, TheHeadAloneIsTheEmbedding) {
  std::vector<float> values(size_);
  for (size_t i = 0; i < size_; ++i) values[i] = static_cast<float>(i);
  const HuggingFaceWeights weights = open({}, values);
  EXPECT_NO_THROW(weights.check_fit(model_parameters(model_), "[x]"));
  std::vector<float> read(3);
  weights.read(kEmbedding, 5, read);
  EXPECT_EQ(read, (std::vector<float>{5, 6, 7}));
}

TEST_F(TiedFolder, AHeadBesideItMustBeTheSame) {
  std::vector<float> embedding(size_, 1.0f), head = embedding;
  EXPECT_NO_THROW(open(embedding, head).check_fit(model_parameters(model_), "[x]"));
  head.back() = 2;
  const HuggingFaceWeights weights = open(embedding, head);
  EXPECT_THAT(
      [&] { weights.check_fit(model_parameters(model_), "[x] dir"); },
      testing::ThrowsMessage<DataError>(AllOf(HasSubstr("[x] dir: lm_head.weight is not model.embed_tokens.weight"),
                                              HasSubstr("tie_word_embeddings"))));
}

}  // namespace
}  // namespace trine
