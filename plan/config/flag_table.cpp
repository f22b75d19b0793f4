#include "plan/config/flag_table.h"

#include <algorithm>
#include <cmath>

namespace trine {
namespace {

template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};

using Texts = std::vector<std::string>;
using Names = std::vector<std::string_view>;

// Binds a flag to the field that `access` picks from a Config, const or not.
template <typename Access>
Flag bind(std::string_view group, std::string_view name, Names aliases, std::string_view value,
          std::string_view help, Access access) {
  using Field = std::remove_cvref_t<decltype(access(std::declval<Config&>()))>;
  Flag flag{.name = name, .aliases = std::move(aliases), .group = group, .value = value, .help = help};
  if constexpr (std::is_same_v<Field, Texts>) {
    flag.kind = JsonKind::kList;
    flag.set = [access](Config& config, const Texts& texts) { return access(config) = texts, true; };
    flag.get = [access](const Config& config) { return std::optional(access(config)); };
  } else {
    const auto with_type = [&]<typename T>(std::type_identity<T>) {
      flag.kind = ValueText<T>::kKind;
      flag.needs = ValueText<T>::needs();
      flag.set = [access](Config& config, const Texts& texts) {
        const std::optional<T> parsed = ValueText<T>::parse(texts.back());
        if (parsed) access(config) = *parsed;
        return parsed.has_value();
      };
    };
    if constexpr (IsOptional<Field>::value) {
      using T = typename Field::value_type;
      with_type(std::type_identity<T>{});
      flag.get = [access](const Config& config) {
        const Field& field = access(config);
        return field ? std::optional(Texts{ValueText<T>::print(*field)}) : std::nullopt;
      };
    } else {
      with_type(std::type_identity<Field>{});
      flag.get = [access](const Config& config) {
        return std::optional(Texts{ValueText<Field>::print(access(config))});
      };
    }
  }
  if (flag.kind == JsonKind::kBool && !value.empty()) flag.value_if_bare = "on";
  return flag;
}

// --warmup 2%: of the steps, which stand above it in the table and so are set before.
void take_part_of_steps(Flag& flag) {
  flag.kind = JsonKind::kNumberOrText;
  flag.needs = "an integer, or a part of the steps such as 2%";
  flag.set = [steps = flag.set](Config& config, const Texts& texts) {
    const std::string& text = texts.back();
    if (!text.ends_with('%')) return steps(config, texts);
    const auto percent = ValueText<double>::parse(text.substr(0, text.size() - 1));
    if (percent && *percent >= 0 && *percent <= 100)
      config.warmup = std::llround(static_cast<double>(config.steps) * *percent / 100);
    return percent && *percent >= 0 && *percent <= 100;
  };
}

// A rehearsal is a plan for GPUs on devices that are not there.
void take_rehearsal(Flag& flag) {
  flag.needs = "cpu, cuda or rehearsal";
  flag.set = [device = flag.set](Config& config, const Texts& texts) {
    config.rehearsal = texts.back() == "rehearsal";
    return device(config, config.rehearsal ? Texts{"cuda"} : texts);
  };
  flag.get = [device = flag.get](const Config& config) {
    return config.rehearsal ? std::optional(Texts{"rehearsal"}) : device(config);
  };
}

// "auto": not known yet.
void take_auto(Flag& flag) {
  flag.kind = JsonKind::kNumberOrText;
  flag.needs = "auto or a number";
  flag.set = [number = flag.set](Config& config, const Texts& texts) {
    if (texts.back() != "auto") return number(config, texts);
    config.dilation.reset();
    return true;
  };
}

#define FIELD(path) \
  [](auto& config) -> auto& { return config.path; }

std::vector<Flag> make_table() {
  std::vector<Flag> t;
  std::string_view group;
  const auto add = [&](std::string_view name, Names aliases, std::string_view value, std::string_view help,
                       auto access) { t.push_back(bind(group, name, std::move(aliases), value, help, access)); };

  group = "Model";
  add("model", {}, "NAME|DIR|FILE",
      "a preset, or a folder or Hugging Face config.json (default: tiny); the flags below change it",
      FIELD(model_name));
  add("layers", {"num-layers"}, "N", "transformer layers", FIELD(model.layers));
  add("hidden", {"hidden-size"}, "N", "width of the residual stream", FIELD(model.hidden));
  add("heads", {"num-attention-heads"}, "N", "query heads", FIELD(model.heads));
  add("kv-heads", {"num-query-groups", "num-key-value-heads"}, "N", "key and value heads", FIELD(model.kv_heads));
  add("head-dim", {"kv-channels"}, "N", "size of a head (default: hidden / heads)", FIELD(model.head_dim));
  add("ffn", {"ffn-hidden-size"}, "N", "inner size of the SwiGLU block", FIELD(model.ffn));
  add("vocab", {"vocab-size"}, "N", "token ids", FIELD(model.vocab));
  add("norm-eps", {"norm-epsilon", "layernorm-epsilon"}, "X", "epsilon of RMSNorm", FIELD(model.norm_eps));
  add("rope-theta", {"rotary-base"}, "X", "base of the rotary frequencies", FIELD(model.rope_theta));
  add("rope-scaling", {}, "KIND", "none, linear:FACTOR or llama3:FACTOR[:LOW:HIGH:ORIGINAL]",
      FIELD(model.rope_scaling));
  add("init-std", {"init-method-std"}, "X", "standard deviation of initial weights", FIELD(model.init_std));
  add("tie-embeddings", {}, "on|off", "the head uses the embedding's weight", FIELD(model.tie_embeddings));
  add("max-position", {"max-position-embeddings"}, "N", "longest context, as exported models state it",
      FIELD(model.max_position));
  add("bos", {}, "ID", "token that begins a text, or -1 (default: the tokenizer's)", FIELD(model.bos));
  add("pad", {}, "ID", "token that fills a batch up, as exported models state it, or -1", FIELD(model.pad));
  add("eos", {}, "ID,..", "tokens that end a text, or none (default: the tokenizer's)", FIELD(model.eos));

  group = "Batch";
  add("seq", {"seq-length"}, "N", "tokens of a sequence (seq, global-batch, steps and lr default to the preset's)",
      FIELD(seq));
  add("micro-batch", {"micro-batch-size"}, "N",
      "sequences that go through the model at once (default: leaves 4 pp microbatches; 1 from 1 B parameters on)",
      FIELD(micro_batch));
  add("global-batch", {"global-batch-size"}, "N", "sequences of a step", FIELD(global_batch));

  group = "Training";
  add("steps", {"train-iters"}, "N", "optimizer steps", FIELD(steps));
  add("lr", {}, "X", "highest learning rate", FIELD(lr));
  add("min-lr", {}, "X", "learning rate at the end (default: lr / 10)", FIELD(min_lr));
  add("warmup", {"lr-warmup-iters"}, "N|X%", "steps of linear warm-up, or their part of all (default: 5%)",
      FIELD(warmup));
  take_part_of_steps(t.back());
  add("lr-schedule", {"lr-decay-style"}, "NAME", "cosine, linear or constant", FIELD(lr_schedule));
  add("weight-decay", {}, "X", "decoupled decay of matrices and embeddings", FIELD(weight_decay));
  add("beta1", {"adam-beta1"}, "X", "of AdamW", FIELD(beta1));
  add("beta2", {"adam-beta2"}, "X", "of AdamW", FIELD(beta2));
  add("eps", {"adam-eps"}, "X", "of AdamW", FIELD(eps));
  add("clip", {"clip-grad"}, "X", "largest global gradient norm; 0 never clips", FIELD(clip));
  add("seed", {}, "N", "of initial weights and data order", FIELD(seed));
  add("time-limit", {}, "SECONDS", "save and stop after this time", FIELD(time_limit_s));
  add("eval-only", {}, "", "print the validation loss and stop", FIELD(eval_only));

  group = "Precision";
  add("dtype", {}, "bf16|fp16|f32", "type of weights and activations in forward and backward", FIELD(dtype));
  add("loss-scale", {}, "N|dynamic", "for fp16 (default there: dynamic)", FIELD(loss_scale));
  add("on-non-finite", {}, "stop|skip", "what a loss or gradient that is not finite does", FIELD(on_non_finite));

  group = "Parallelism";
  add("tp", {"tensor-model-parallel-size"}, "N", "ranks that share each layer", FIELD(tp));
  add("pp", {"pipeline-model-parallel-size"}, "N", "pipeline ranks", FIELD(pp));
  add("dp", {}, "N", "only checked: dp = ranks / (tp * pp)", FIELD(expected_dp));
  add("vpp", {}, "N", "pipeline stages per rank, for interleaved", FIELD(vpp));
  add("schedule", {}, "NAME", "gpipe, 1f1b, interleaved or zero-bubble", FIELD(schedule));
  add("stage-split", {}, "NAME",
      "what pipeline stages have alike: cost (of their FLOPs; default), layers, or layers-and-ends (embedding and head "
      "count as a layer each)",
      FIELD(stage_split));
  add("sp", {"sequence-parallel"}, "on|off", "split norms and residuals over tp (default: on when tp > 1)",
      FIELD(sequence_parallel));
  add("zero", {"zero-stage"}, "0|1", "1: split optimizer state over dp (default: 1 when dp > 1)", FIELD(zero));
  add("grad-reduce", {}, "f32|bf16", "type in which gradients cross dp", FIELD(grad_reduce));

  group = "Memory";
  add("recompute", {}, "KIND", "none, selective, group:K, full or auto", FIELD(recompute));
  add("memory-budget", {}, "BYTES",
      "of a rank, such as 22GiB: more is an error (a warning of a dry run); --recompute auto stays within",
      FIELD(memory_budget));

  group = "Device";
  add("device", {}, "cpu|cuda|rehearsal",
      "where the model runs; the GPUs of a host are shared out to its ranks. rehearsal: on GPUs of --cluster that are "
      "not here and only take their time",
      FIELD(device));
  take_rehearsal(t.back());
  add("attention", {}, "auto|cudnn|plain",
      "of a GPU (default: cuDNN's fused one, where it can be had; plain kernels else, with a warning)",
      FIELD(kernels.attention));
  add("deterministic", {}, "on|off",
      "a GPU gives the same bits in every run; attention is slower (the CPU always does)",
      FIELD(kernels.deterministic));
  add("cuda-graphs", {}, "auto|on|off",
      "replay recorded kernels of a GPU, where they are too short to be launched one by one (docs/gpu.md)",
      FIELD(kernels.graphs));
  add("comm", {}, "auto|mpi|nccl", "between GPUs (default: tried out; mpi stages through the host)", FIELD(comm));
  add("local-ranks", {}, "N", "ranks as threads of this process, without mpirun", FIELD(local_ranks));
  add("threads", {}, "N", "threads per rank (default: cores / ranks on this host)", FIELD(threads));
  add("timeout", {}, "SECONDS", "longest wait for another rank", FIELD(timeout_s));

  group = "Data";
  add("data", {}, "PATH...", "token files (default: Debian's jargon-text)", FIELD(data));
  add("valid-data", {"valid-data-path"}, "PATH", "token file to validate on", FIELD(valid_data));
  add("valid-fraction", {}, "F",
      "part of the data, at its end, to validate on (default: 0; 0.05 of the default text)", FIELD(valid_fraction));
  add("tokenizer", {"tokenizer-model"}, "bytes|FILE|DIR",
      "of the data (default: the one beside --load-weights or --model, else bytes)", FIELD(tokenizer));
  add("shuffle", {}, "on|off", "draw sequences in random order", FIELD(shuffle));
  add("valid-interval", {"eval-interval"}, "N", "steps between validations", FIELD(valid_interval));
  add("valid-batches", {"eval-iters"}, "N", "global batches of a validation; 0: never validate",
      FIELD(valid_batches));

  group = "Run folder";
  add("out", {}, "DIR", "the run folder (default: runs/<model>-<time>)", FIELD(out));
  add("save-interval", {}, "N", "steps between checkpoints; the last step is saved too", FIELD(save_interval));
  add("save", {}, "DIR", "where checkpoints go (default: in the run folder)", FIELD(save));
  add("keep", {}, "K", "whole checkpoints to keep, the newest ones", FIELD(keep));
  add("resume", {}, "latest|auto|DIR",
      "go on from the newest good checkpoint of --out, or of DIR (a run, a folder of checkpoints or one of them); "
      "auto begins where none was ever completed",
      FIELD(resume));
  t.back().value_if_bare = "latest";
  add("load-weights", {}, "DIR",
      "initial weights from a checkpoint, a run or a Hugging Face folder; the model too, without --model",
      FIELD(load_weights));

  group = "Observe";
  add("trace", {}, "off|on|A:B", "steps whose trace is written", FIELD(trace));
  add("trace-format", {}, "json.gz|json", "of the trace files", FIELD(trace_format));
  add("trace-ranks", {}, "LIST|all", "ranks that write one, such as 0,3,8:15", FIELD(trace_ranks));
  add("trace-limit", {}, "BYTES", "size at which a rank's trace ends, whole (default: 256MiB)", FIELD(trace_limit));
  add("log-interval", {}, "N", "steps between progress lines", FIELD(log_interval));
  add("tensorboard", {}, "on|off", "write TensorBoard's event files to tb/ in the run folder", FIELD(tensorboard));
  add("quiet", {}, "", "print errors and warnings only", FIELD(quiet));

  group = "Look, don't train";
  add("dry-run", {}, "", "plan any layout, say what it asks of a rank, and stop", FIELD(dry_run));
  add("json", {}, "", "what --dry-run finds, as JSON", FIELD(json));
  add("ranks", {}, "N", "plan for so many ranks, with --dry-run", FIELD(planned_ranks));
  add("cluster", {}, "NAME|FILE",
      "predict the step on this cluster, with --dry-run, or rehearse it, with --device rehearsal (plan_llama clusters "
      "lists them); of a run, whose peak MFU is a share of",
      FIELD(cluster));
  add("set", {}, "NUMBER=VALUE...", "change a number of the cluster, such as device.memory_gib=80",
      FIELD(cluster_changes));
  add("slow", {}, "RANK:FACTOR...", "ranks of the cluster whose kernels take longer", FIELD(slow_ranks));
  add("detail", {}, "action|node",
      "what is predicted by itself: actions of the schedule (default; as exact, and quicker), or every node",
      FIELD(detail));
  add("what-if", {}, "all|layout|off",
      "what a prediction says would shorten the step: all (default; of up to 64 devices other layouts, too), what is "
      "tried on this layout, or nothing, which is quickest",
      FIELD(what_if));
  add("jitter", {}, "SIGMA", "kernels of a rehearsal vary by that share, at random (0.05: by 5 %)", FIELD(jitter));
  add("speed-up", {}, "N", "divide all times of a rehearsal by N", FIELD(speed_up));
  add("emulate-links", {}, "NAME|FILE",
      "train on CPUs with collectives and messages as slow, against their compute, as the links of this cluster are; with "
      "--dry-run, predict that run (kernels: --cluster FILE, measured.json or measured)",
      FIELD(emulate_links));
  add("dilation", {}, "auto|D",
      "how many times slower than the cluster's these CPUs are (default: auto, from measured.json or measured)",
      FIELD(dilation));
  take_auto(t.back());
  add("predict-trace", {}, "DIR", "write the predicted step as a run writes its trace", FIELD(predict_trace));
  add("print-graph", {}, "", "the graph of a step, as text", FIELD(print_graph));
  add("print-memory", {}, "", "the memory of each pipeline rank, by name", FIELD(print_memory));
  add("print-schedule", {}, "", "the pipeline's actions, and a picture in schedule.svg (in --out, else here)",
      FIELD(print_schedule));
  add("print-program", {}, "", "what each pipeline rank does in a training step, command by command",
      FIELD(print_program));
  add("print-plan", {}, "", "all of the plan", FIELD(print_plan));
  add("dump-pass", {}, "NAME...", "print the graph before and after these passes", FIELD(dump_passes));
  add("disable-pass", {}, "NAME...", "leave these passes out", FIELD(disabled_passes));
  return t;
}

#undef FIELD

}  // namespace

std::span<const Flag> flag_table() {
  static const std::vector<Flag> kTable = make_table();
  return kTable;
}

const Flag* find_flag(std::string_view name) {
  for (const Flag& flag : flag_table())
    if (flag.name == name || std::ranges::count(flag.aliases, name) > 0) return &flag;
  return nullptr;
}

}  // namespace trine
