// The graph of a whole model, run in f64, against Hugging Face's implementation (tests/data/hf_llama): logits, loss
// and every gradient, on one rank and on several; and 20 steps of training through buckets, clipping and AdamW.
#include <filesystem>
#include <gmock/gmock.h>
#include <map>

#include "checkpoint/hugging_face.h"
#include "checkpoint/safetensors.h"
#include "graph/autodiff.h"
#include "graph/verifier.h"
#include "models/llama.h"
#include "ops/batch.h"
#include "ops/collective.h"
#include "ops/elementwise.h"
#include "parallel/buckets.h"
#include "parallel/optimizer.h"
#include "tests/reference/interpreter.h"
#include "tests/test_data.h"

namespace trine::reference {
namespace {

const std::filesystem::path kData = std::filesystem::path(test_data()) / "hf_llama";
constexpr const char* kModels[] = {"mha", "gqa_tied_llama3", "head_dim", "deep"};

Tensor load(const SafetensorsFile& file, const std::string& name) {
  return Tensor(file.tensor(name).shape, to_vector<double>(file.tensor(name)));
}
Tensor load(const HuggingFaceWeights& weights, const std::string& name) {
  Tensor tensor(weights.shape(name));
  std::vector<float> values(tensor.data.size());
  weights.read(name, 0, values);
  std::copy(values.begin(), values.end(), tensor.data.begin());
  return tensor;
}
Tensor flat(Tensor x) {
  x.shape = {x.size()};
  return x;
}

GradientOps gradient_ops() {
  return {.add = std::make_shared<Add>(), .accumulate = std::make_shared<Accumulate>(1), .seed = [](Builder& b) {
            const auto read = [&](const char* name) { return b.read(b.graph().state_named(name)); };
            return b.add(LossSeed(), {read(step_state::kLossScale), read(step_state::kValidTokens)});
          }};
}

void set_weights(Interpreter& interpreter, const std::filesystem::path& folder, bool tied) {
  const HuggingFaceWeights weights(folder);
  for (const std::string& name : weights.names())
    if (!(tied && name == "lm_head.weight")) interpreter.set(name, load(weights, name));
}

struct Layout {
  int tp = 1;
  bool sequence_parallel = false;
  bool one_sequence_each = false;  // microbatches of one sequence, else one of all
};

class HuggingFace : public testing::TestWithParam<std::tuple<const char*, Layout>> {};

TEST_P(HuggingFace, HasTheSameLogitsLossAndGradients) {
  const auto& [model, layout] = GetParam();
  const LlamaConfig config = read_hugging_face_config(kData / model);
  const SafetensorsFile reference(kData / model / "reference.safetensors");
  const Tensor ids = load(reference, "ids");
  const int64_t sequences = ids.shape[0], micro_batch = layout.one_sequence_each ? 1 : sequences;
  const BatchShape batch{
      .micro_batch = micro_batch, .seq = ids.shape[1], .num_microbatches = sequences / micro_batch};
  LlamaForward forward = build_llama(config, batch, Mesh{.tp = layout.tp}, layout.sequence_parallel);
  const Graph graph = differentiate(std::move(forward.graph), forward.loss, gradient_ops());
  verify(graph);

  Interpreter interpreter(graph);
  set_weights(interpreter, kData / model, config.tie_embeddings);
  interpreter.host() = {.ids = flat(ids), .labels = flat(load(reference, "labels")), .lr = 0, .loss_scale = 1};
  interpreter.run_step(static_cast<int>(batch.num_microbatches));

  // The interpreter keeps the last microbatch's values.
  Tensor logits = load(reference, "logits");
  logits.shape = {ids.size(), config.vocab};
  logits = slice(logits, 0, ids.size() - batch.tokens(), batch.tokens());
  EXPECT_LT(relative_error(interpreter.get(forward.logits), logits), 3e-6);
  const double loss = interpreter.get(step_state::kLossSum)(0) / interpreter.get(step_state::kValidTokens)(0);
  EXPECT_NEAR(loss, load(reference, "loss")(0), 1e-6 * loss);
  size_t compared = 0;
  for (const auto& [name, tensor] : reference.tensors()) {
    if (!name.starts_with("grad.")) continue;
    Tensor gradient = interpreter.get(name);
    if (config.tie_embeddings && name == "grad.model.embed_tokens.weight")
      gradient = gradient + interpreter.get("grad.lm_head.weight");
    EXPECT_LT(relative_error(gradient, load(reference, name)), 1e-5) << name;
    ++compared;
  }
  EXPECT_EQ(compared, static_cast<size_t>(9 * config.layers + (config.tie_embeddings ? 2 : 3)));
}

std::string layout_name(const testing::TestParamInfo<std::tuple<const char*, Layout>>& test) {
  const auto& [model, l] = test.param;
  return fmt::format("{}_tp{}{}{}", model, l.tp, l.sequence_parallel ? "_sp" : "",
                     l.one_sequence_each ? "_accumulated" : "");
}
INSTANTIATE_TEST_SUITE_P(Models, HuggingFace,
                         testing::Combine(testing::ValuesIn(kModels),
                                          testing::Values(Layout{1, false, false}, Layout{1, false, true},
                                                          Layout{2, false, false}, Layout{2, true, false})),
                         layout_name);
// Two kv heads: two ranks, then three, read the same one.
INSTANTIATE_TEST_SUITE_P(FewerKvHeadsThanRanks, HuggingFace,
                         testing::Combine(testing::Values("head_dim", "deep"),
                                          testing::Values(Layout{4, false, false}, Layout{4, true, true})),
                         layout_name);
INSTANTIATE_TEST_SUITE_P(FewerKvHeadsThanRanksTied, HuggingFace,
                         testing::Combine(testing::Values("gqa_tied_llama3"),
                                          testing::Values(Layout{6, false, true}, Layout{6, true, false})),
                         layout_name);

// A layout of ranks, with the optimizer's states whole on each dp rank or in shares (ZeRO-1).
struct TrainingLayout {
  int dp = 1, tp = 1;
  bool sequence_parallel = false, zero = false;
};

class HuggingFaceTraining : public testing::TestWithParam<std::tuple<const char*, TrainingLayout>> {};

TEST_P(HuggingFaceTraining, HasTheSameCurveAndFinalWeights) {
  const auto& [model, layout] = GetParam();
  const std::filesystem::path folder = kData / model;
  const LlamaConfig config = read_hugging_face_config(folder);
  const SafetensorsFile training(folder / "training.safetensors");
  const Tensor batches = load(training, "batches");  // [steps, B, T + 1]
  const bool one_rank = layout.dp * layout.tp == 1;
  // On several ranks a few steps say all: each norm depends on every weight that the steps before have updated.
  const int64_t steps = one_rank ? batches.shape[0] : 4, sequences = batches.shape[1], seq = batches.shape[2] - 1;
  ASSERT_EQ(sequences % layout.dp, 0) << "choose a model whose batch divides over dp";
  const int64_t micro_batch = one_rank ? 1 : sequences / layout.dp;
  const BatchShape batch{
      .micro_batch = micro_batch, .seq = seq, .num_microbatches = sequences / layout.dp / micro_batch};
  LlamaForward forward =
      build_llama(config, batch, Mesh{.dp = layout.dp, .tp = layout.tp}, layout.sequence_parallel);
  const Graph graph =
      add_optimizer(assign_buckets(differentiate(std::move(forward.graph), forward.loss, gradient_ops()),
                                   {.shard_over_dp = layout.zero}),
                    {.beta1 = 0.9f,
                     .beta2 = 0.95f,
                     .eps = 1e-8f,
                     .weight_decay = 0.1f,
                     .clip = 1.0f,
                     .shard_over_dp = layout.zero});
  verify(graph);

  Interpreter interpreter(graph);
  set_weights(interpreter, folder, config.tie_embeddings);
  for (StateId bucket : buckets(graph)) {  // masters start as what this rank will update
    std::string own = graph[bucket].name;
    for (const char* part : {".own_tp", ".own_dp"})
      if (graph.find_state(own + part).valid()) own += part;
    interpreter.set(graph[graph.companion(bucket, StateRole::kMaster)].name, interpreter.get(own));
  }
  const Tensor want_loss = load(training, "loss"), want_norm = load(training, "grad_norm"),
               lr = load(training, "lr");
  for (int64_t step = 0; step < steps; ++step) {
    const Tensor tokens = slice(batches, 0, step, 1);
    interpreter.host() = {.ids = flat(slice(tokens, 2, 0, seq)),
                          .labels = flat(slice(tokens, 2, 1, seq)),
                          .lr = lr(step),
                          .loss_scale = 1024};
    interpreter.run_step(static_cast<int>(batch.num_microbatches));
    const char* sum = layout.dp == 1 ? step_state::kLossSum : "step.loss_sum.over_dp";
    const double loss = interpreter.get(sum)(0) / interpreter.get(step_state::kValidTokens)(0);
    EXPECT_NEAR(loss, want_loss(step), 2e-6 * loss) << "step " << step;
    EXPECT_NEAR(interpreter.get(step_state::kGradNorm)(0), want_norm(step),
                (step == 0 ? 2e-6 : 1e-4) * want_norm(step));
  }
  for (const auto& [name, tensor] : training.tensors()) {
    if (!one_rank || !name.starts_with("final.")) continue;
    EXPECT_LT(relative_error(interpreter.get(name.substr(6)), load(training, name)), 1e-5) << name;
  }
}

// The whole model on one rank, and "deep" (eight sequences, odd sizes elsewhere) on every kind of layout.
std::string training_name(const testing::TestParamInfo<std::tuple<const char*, TrainingLayout>>& test) {
  const auto& [model, l] = test.param;
  return fmt::format("{}_dp{}_tp{}{}{}", model, l.dp, l.tp, l.sequence_parallel ? "_sp" : "",
                     l.zero ? "_zero" : "");
}
INSTANTIATE_TEST_SUITE_P(Models, HuggingFaceTraining,
                         testing::Combine(testing::ValuesIn(kModels), testing::Values(TrainingLayout{})),
                         training_name);
INSTANTIATE_TEST_SUITE_P(Layouts, HuggingFaceTraining,
                         testing::Combine(testing::Values("deep"),
                                          testing::Values(TrainingLayout{2, 1}, TrainingLayout{4, 1, false, true},
                                                          TrainingLayout{1, 2, true}, TrainingLayout{2, 2, false},
                                                          TrainingLayout{2, 2, true, true},
                                                          TrainingLayout{1, 4, false}, TrainingLayout{1, 4, true},
                                                          TrainingLayout{2, 4, false, true},
                                                          TrainingLayout{2, 4, true, true})),
                         training_name);
INSTANTIATE_TEST_SUITE_P(TiedLayouts, HuggingFaceTraining,
                         testing::Combine(testing::Values("gqa_tied_llama3"),
                                          testing::Values(TrainingLayout{3, 2, true, true})),
                         training_name);

// Which collectives a microbatch runs, and how often.
std::map<std::string, int> collectives(const LlamaConfig& config, const Mesh& mesh, bool sequence_parallel) {
  LlamaForward forward = build_llama(config, {.micro_batch = 1, .seq = 8}, mesh, sequence_parallel);
  const Graph graph = differentiate(std::move(forward.graph), forward.loss, gradient_ops());
  std::map<std::string, int> counts;
  for (const Node& node : graph.nodes())
    if (const auto* op = dynamic_cast<const Collective*>(node.op.get()); op && node.region == Region::kMicrobatch)
      ++counts[std::string(op->name())];
  return counts;
}

TEST(SharedKvHeads, CostNoCommunicationInAMicrobatch) {
  const LlamaConfig config = read_hugging_face_config(kData / "deep");
  for (bool sequence_parallel : {false, true}) {
    const auto split = collectives(config, Mesh{.tp = 2}, sequence_parallel);
    auto shared = collectives(config, Mesh{.tp = 4}, sequence_parallel);
    for (const char* local : {"slice", "pad"}) {
      EXPECT_EQ(shared[local], 2 * config.layers + (split.contains(local) ? split.at(local) : 0)) << local;
      shared.erase(local);
    }
    auto want = split;
    want.erase("slice"), want.erase("pad");
    EXPECT_EQ(shared, want);
  }
}

}  // namespace
}  // namespace trine::reference
