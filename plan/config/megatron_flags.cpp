#include "plan/config/megatron_flags.h"

#include <algorithm>

#include "plan/config/megatron_meanings.h"

namespace trine {
namespace {

using namespace megatron;
using Takes = MegatronFlag::Takes;

class Table {
 public:
  void group(std::string_view name) { group_ = name; }
  void add(std::string_view name, Takes takes, std::string help, decltype(MegatronFlag::meaning) meaning) {
    flags_.push_back({group_, name, takes, std::move(help), std::move(meaning)});
  }
  void says(std::string_view name, std::string_view flag, std::string text) {
    add(name, Takes::kNothing, fmt::format("--{} {}", flag, text),
        [flag, text](const Texts&, const Line&) { return say(flag, text); });
  }
  // The value times `factor`.
  void scaled(std::string_view name, std::string_view flag, double factor, const char* unit, const char* help) {
    add(name, Takes::kValue, help, [=](const Texts& texts, const Line&) {
      const auto value = number(texts.back());
      return value ? say(flag, fmt::format("{:.15g}{}", *value * factor, unit)) : refuse("it needs a number.");
    });
  }
  void holds_anyway(std::initializer_list<std::string_view> names, Takes takes, const char* why) {
    for (const std::string_view name : names)
      add(name, takes, why, [](const Texts&, const Line&) { return holds(); });
  }
  void only(std::string_view name, std::vector<std::string_view> values, const char* why) {
    add(name, Takes::kValue, fmt::format("{}; else refused: {}", fmt::join(values, ", "), why),
        [=](const Texts& texts, const Line&) {
          const auto is = [&](std::string_view value) {
            const auto wanted = number(std::string(value));
            return value == texts.back() || (wanted && wanted == number(texts.back()));
          };
          return std::any_of(values.begin(), values.end(), is) ? holds() : refuse(why);
        });
  }
  void of_loss_scale(std::string_view name, double only, const char* why) {
    add(name, Takes::kValue, fmt::format("holds if {}, or without --fp16", only),
        [=](const Texts& texts, const Line& line) { return loss_scale(only, why, texts, line); });
  }
  void refused(std::initializer_list<std::string_view> names, Takes takes, const char* why) {
    for (const std::string_view name : names)
      add(name, takes, fmt::format("refused: {}", why), [why](const Texts&, const Line&) { return refuse(why); });
  }
  std::vector<MegatronFlag> take() { return std::move(flags_); }

 private:
  std::string_view group_;
  std::vector<MegatronFlag> flags_;
};

void add_model(Table& t) {
  t.group("Model");
  t.holds_anyway({"swiglu", "disable-bias-linear", "use-rotary-position-embeddings", "no-position-embedding",
                  "group-query-attention"},
                 Takes::kNothing, "so is every LLaMA");
  t.only("normalization", {"RMSNorm", "rmsnorm"}, "a LLaMA has RMSNorm, of which --norm-eps can be chosen.");
  t.only("position-embedding-type", {"rope"}, "a LLaMA has RoPE, see --rope-theta and --rope-scaling.");
  t.only("rotary-percent", {"1.0"}, "RoPE turns whole heads; --rope-theta and --rope-scaling can be chosen.");
  t.add("rotary-seq-len-interpolation-factor", Takes::kValue, "--rope-scaling linear:F",
        [](const Texts& texts, const Line&) { return say("rope-scaling", "linear:" + texts.back()); });
  t.add("use-rope-scaling", Takes::kNothing, "--rope-scaling llama3:8, or of --rope-scaling-factor", rope_scaling);
  t.add("rope-scaling-factor", Takes::kValue, "of --use-rope-scaling", [](const Texts&, const Line& line) {
    return part_of("use-rope-scaling", "it needs --use-rope-scaling; say --rope-scaling.", line);
  });
  t.says("untie-embeddings-and-output-weights", "tie-embeddings", "off");
  t.add("make-vocab-size-divisible-by", Takes::kValue,
        "holds if it divides --vocab-size / tp; else refused: no ids are added here", padded_vocabulary);
  t.only("attention-dropout", {"0"}, "there is no dropout here, as LLaMA was trained; leave it out.");
  t.only("hidden-dropout", {"0"}, "there is no dropout here, as LLaMA was trained; leave it out.");
  t.refused({"qk-layernorm", "add-qkv-bias", "apply-layernorm-1p", "squared-relu"}, Takes::kNothing,
            "a LLaMA has none; --model says what can be trained.");
  t.only("num-experts", {"1"}, "a LLaMA has one feed-forward block a layer, see --ffn.");
}

void add_training(Table& t) {
  t.group("Batch and training");
  t.add("train-samples", Takes::kValue, "--steps, if it is a whole number of global batches",
        [](const Texts& texts, const Line& line) { return samples("steps", texts, line); });
  t.add("lr-warmup-samples", Takes::kValue, "--warmup, if it is a whole number of global batches",
        [](const Texts& texts, const Line& line) { return samples("warmup", texts, line); });
  t.scaled("lr-warmup-fraction", "warmup", 100, "%", "--warmup X%");
  t.add("lr-decay-iters", Takes::kValue,
        "holds if it is --train-iters; else refused: --min-lr is that of the last step", decay_iters);
  t.add("lr-decay-samples", Takes::kValue, "holds if it is --train-samples", decay_samples);
  t.only("lr-warmup-init", {"0"}, "warm-up begins at lr / --warmup.");
  t.only("optimizer", {"adam", "adamw", "fusedadamw"},
         "the optimizer is AdamW, of --beta1, --beta2, --eps and --weight-decay.");
  t.only("weight-decay-incr-style", {"constant"}, "--weight-decay stays the same all along.");
  t.refused({"start-weight-decay", "end-weight-decay"}, Takes::kValue, "--weight-decay stays the same all along.");
  t.refused({"rampup-batch-size"}, Takes::kList, "--global-batch stays the same all along.");
  t.refused({"decoupled-lr", "decoupled-min-lr"}, Takes::kValue, "all parameters learn at --lr.");
  t.only("exit-interval", {"0"}, "a run ends after --steps or --time-limit, or on a file `stop` in its folder.");
  t.scaled("exit-duration-in-mins", "time-limit", 60, "", "--time-limit, which is in seconds");
  t.holds_anyway({"exit-signal-handler"}, Takes::kNothing, "signals stop a run after the step, which is saved");
  t.says("skip-train", "eval-only", "on");
  t.holds_anyway({"calculate-per-token-loss"}, Takes::kNothing,
                 "the loss is the mean over all tokens of the global batch");

  t.group("Precision");
  t.says("bf16", "dtype", "bf16");
  t.says("fp16", "dtype", "fp16");
  t.of_loss_scale("initial-loss-scale", 65536, "--loss-scale dynamic begins at 65536; --loss-scale N keeps one.");
  t.of_loss_scale("min-loss-scale", 1, "--loss-scale dynamic ends at 1; --loss-scale N keeps one.");
  t.of_loss_scale("loss-scale-window", 1000,
                  "--loss-scale dynamic doubles after 1000 good steps; --loss-scale N keeps one.");
  t.of_loss_scale("hysteresis", 1, "--loss-scale dynamic halves at the first overflow; --loss-scale N keeps one.");
  t.holds_anyway({"attention-softmax-in-fp32", "no-query-key-layer-scaling"}, Takes::kNothing,
                 "the softmax is computed in f32");
  t.says("accumulate-allreduce-grads-in-fp32", "grad-reduce", "f32");
  t.says("grad-reduce-in-bf16", "grad-reduce", "bf16");
  t.refused({"fp16-lm-cross-entropy"}, Takes::kNothing, "the loss is computed in f32, whatever --dtype says.");
  t.refused({"fp32-residual-connection"}, Takes::kNothing, "residuals have the type of --dtype.");
  t.refused({"fp8-format"}, Takes::kValue, "there is no fp8 here: --dtype takes bf16, fp16 or f32.");
}

void add_parallelism(Table& t) {
  const auto of_recompute = [](const Texts&, const Line& line) {
    return part_of("recompute-granularity", "it needs --recompute-granularity full.", line);
  };
  t.group("Parallelism and memory");
  t.says("use-distributed-optimizer", "zero", "1");
  t.holds_anyway({"overlap-grad-reduce", "overlap-param-gather", "overlap-p2p-communication", "tp-comm-overlap",
                  "no-async-tensor-model-parallel-allreduce", "use-cpu-initialization"},
                 Takes::kNothing, "concerns no number; communication is overlapped where it can be");
  for (const char* name : {"context-parallel-size", "expert-model-parallel-size", "expert-tensor-parallel-size"})
    t.only(name, {"1"}, "a model is split over --tp (sequences too, --sp) and --pp only.");
  t.add("num-layers-per-virtual-pipeline-stage", Takes::kValue, "--vpp --schedule interleaved",
        layers_of_virtual_stage);
  for (const char* name : {"num-virtual-stages-per-pipeline-rank", "virtual-pipeline-model-parallel-size"})
    t.add(name, Takes::kValue, "--vpp --schedule interleaved", virtual_stages);
  const std::pair<const char*, const char*> ends[] = {
      {"account-for-embedding-in-pipeline-split", "account-for-loss-in-pipeline-split"},
      {"account-for-loss-in-pipeline-split", "account-for-embedding-in-pipeline-split"}};
  for (const auto& [name, other] : ends)
    t.add(name, Takes::kNothing, fmt::format("--stage-split layers-and-ends, with --{}", other),
          [other](const Texts&, const Line& line) { return both_ends(other, line); });
  t.only("distributed-backend", {"nccl", "gloo", "mpi"}, "see --comm.");
  t.only("DDP-impl", {"local", "torch"}, "see --zero and --grad-reduce.");
  t.scaled("distributed-timeout-minutes", "timeout", 60, "", "--timeout, which is in seconds");
  t.says("recompute-activations", "recompute", "selective");
  t.add("recompute-granularity", Takes::kValue, "--recompute selective, full or group:K (the uniform method)",
        recompute_granularity);
  t.add("recompute-method", Takes::kValue, "uniform, of --recompute-granularity full", of_recompute);
  t.add("recompute-num-layers", Takes::kValue, "the K of --recompute group:K", of_recompute);
  t.says("checkpoint-activations", "recompute", "full");

  t.group("Kernels");
  t.holds_anyway(
      {"use-flash-attn", "use-mcore-models", "masked-softmax-fusion", "no-masked-softmax-fusion",
       "no-bias-gelu-fusion", "no-bias-swiglu-fusion", "no-bias-dropout-fusion", "no-rope-fusion",
       "no-persist-layer-norm", "no-gradient-accumulation-fusion", "cross-entropy-loss-fusion", "use-fused-rmsnorm",
       "use-fused-swiglu", "use-fused-rotary-pos-emb", "manual-gc", "deterministic-mode"},
      Takes::kNothing, "how Megatron's own code runs");
  t.holds_anyway({"attention-backend", "transformer-impl", "cross-entropy-fusion-impl", "empty-unused-memory-level",
                  "manual-gc-interval"},
                 Takes::kValue, "how Megatron's own code runs");
}

void add_data(Table& t) {
  t.group("Data");
  for (const char* name : {"data-path", "train-data-path"})
    t.add(name, Takes::kList, "--data; refused with weights between several files", data_path);
  t.refused({"test-data-path"}, Takes::kList, "there is no test part; --valid-data is validated on.");
  t.add("split", Takes::kValue, "--valid-fraction, the test part included", split);
  t.only("tokenizer-type",
         {"Llama2Tokenizer", "Llama3Tokenizer", "SentencePieceTokenizer", "GPTSentencePieceTokenizer",
          "HuggingFaceTokenizer", "NullTokenizer"},
         "--tokenizer takes a tokenizer.json, a SentencePiece tokenizer.model, or bytes, and sees which it is.");
  t.refused({"vocab-file", "merge-file"}, Takes::kValue, "--tokenizer takes a tokenizer.json, which holds both.");
  t.only("data-impl", {"mmap", "infer"}, "--data takes Megatron's .bin and .idx, which are mapped.");
  t.only("dataloader-type", {"single", "cyclic"}, "--shuffle on or off says in which order sequences come.");
  t.holds_anyway({"num-workers", "data-cache-path"}, Takes::kValue, "token files are mapped, nothing is prepared");
  t.holds_anyway({"mmap-warmup", "no-mmap-bin-files", "no-create-attention-mask-in-dataloader"}, Takes::kNothing,
                 "token files are mapped, nothing is prepared");
  t.refused({"mock-data"}, Takes::kNothing,
            "without --data the default text is read; --model bench-m takes random tokens.");
  t.refused({"eod-mask-loss", "reset-position-ids", "reset-attention-mask"}, Takes::kNothing,
            "the documents of --data are one stream, in which every token counts.");
}

void add_run_folder(Table& t) {
  t.group("Checkpoints and logs");
  t.add("load", Takes::kValue, "--resume auto if it is --save's folder; --load-weights with --finetune", load);
  t.add("finetune", Takes::kNothing, "of --load",
        [](const Texts&, const Line& line) { return part_of("load", "say --load-weights DIR.", line); });
  t.add("exit-on-missing-checkpoint", Takes::kNothing, "--load is then --resume",
        [](const Texts&, const Line& line) { return part_of("load", "say --resume DIR.", line); });
  t.refused({"no-load-optim"}, Takes::kNothing, "--load-weights DIR begins with the weights alone.");
  t.refused({"no-save-optim"}, Takes::kNothing,
            "a checkpoint of --save is whole; checkpoint_tool export-hf writes the weights alone.");
  t.refused({"ckpt-format", "dist-ckpt-format"}, Takes::kValue,
            "--save has one format (checkpoint/format.md); checkpoint_tool export-hf writes safetensors.");
  t.holds_anyway({"no-load-rng", "no-save-rng", "use-checkpoint-args", "async-save", "auto-detect-ckpt-format",
                  "override-opt_param-scheduler"},
                 Takes::kNothing,
                 "random numbers follow from --seed, saving is asynchronous, --resume takes the run's flags");
  t.refused({"tensorboard-dir"}, Takes::kValue,
            "event files are written to tb/ in the run folder, which --out names.");
  t.only("tensorboard-log-interval", {"1"}, "--tensorboard on writes every step.");
  t.holds_anyway({"tensorboard-queue-size", "timing-log-level", "timing-log-option"}, Takes::kValue,
                 "every step's times are written");
  t.holds_anyway(
      {"log-throughput", "log-timers-to-tensorboard", "log-memory-to-tensorboard", "log-batch-size-to-tensorboard",
       "log-world-size-to-tensorboard", "log-loss-scale-to-tensorboard", "log-learning-rate-to-tensorboard"},
      Takes::kNothing, "metrics.jsonl, --tensorboard and config.json have it");
  t.refused({"log-validation-ppl-to-tensorboard"}, Takes::kNothing,
            "--tensorboard has valid_loss, the logarithm of the perplexity.");
  t.refused({"log-params-norm", "log-num-zeros-in-grad"}, Takes::kNothing, "--tensorboard has grad_norm only.");
  t.refused({"wandb-project", "wandb-exp-name", "wandb-save-dir", "wandb-entity"}, Takes::kValue,
            "W&B reads what --tensorboard writes: `wandb sync RUN/tb` (docs/watching.md).");
  t.add("profile", Takes::kNothing, "--trace A:B of the two flags below", profile);
  t.holds_anyway({"profile-step-start", "profile-step-end"}, Takes::kValue, "of --profile");
  t.holds_anyway({"use-pytorch-profiler"}, Takes::kNothing, "of --profile");
}

std::vector<MegatronFlag> make_table() {
  Table t;
  add_model(t);
  add_training(t);
  add_parallelism(t);
  add_data(t);
  add_run_folder(t);
  return t.take();
}

}  // namespace

std::span<const MegatronFlag> megatron_flags() {
  static const std::vector<MegatronFlag> kTable = make_table();
  return kTable;
}

const MegatronFlag* find_megatron_flag(std::string_view name) {
  const auto table = megatron_flags();
  const auto it = std::ranges::find(table, name, &MegatronFlag::name);
  return it == table.end() ? nullptr : &*it;
}

void add_megatron_flags(GivenFlags& ours, const GivenFlags& megatron, Problems& problems) {
  const GivenFlags before = ours;
  for (const auto& [name, given] : megatron) {
    const Meaning meaning = find_megatron_flag(name)->meaning(given.texts, {before, megatron});
    const std::string value = fmt::format("{}", fmt::join(given.texts, " "));
    if (!meaning.refusal.empty())
      problems.add(given.where, "--{}{}{}: {}", name, value.empty() ? "" : " ", value, meaning.refusal);
    for (const auto& [flag, texts] : meaning.flags) {
      const auto [it, is_new] = ours.try_emplace(std::string(flag), GivenFlag{texts, given.where});
      if (!is_new && it->second.texts != texts)
        problems.add(given.where, "--{} means --{} {}, but that is {} already. Keep one of them.", name, flag,
                     fmt::join(texts, " "), fmt::join(it->second.texts, " "));
    }
  }
}

std::string megatron_help() {
  std::string text = "Megatron-LM's names, on the command line and in --config files\n\nthe same flag:\n";
  for (const Flag& flag : flag_table())
    for (const std::string_view alias : flag.aliases)
      text += fmt::format("  {:<42} --{}\n", fmt::format("--{}", alias), flag.name);
  std::string_view group;
  for (const MegatronFlag& flag : megatron_flags()) {
    if (flag.group != group) text += fmt::format("\n{}:\n", group = flag.group);
    text += fmt::format("  {:<42} {}\n", fmt::format("--{}", flag.name), flag.help);
  }
  return text;
}

}  // namespace trine
