// generate_llama: text from a model. The story: flags -> ModelFolder -> InferencePlan -> Generator -> tokens.
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/clock.h"
#include "base/program.h"
#include "base/text.h"
#include "checkpoint/hash.h"
#include "comm/cores.h"
#include "comm/local/local_ranks.h"
#include "comm/world.h"
#include "data/text_stream.h"
#include "examples/program_flags.h"
#include "examples/version.h"
#include "runtime/device/devices.h"
#include "runtime/device/outside_memory.h"
#include "runtime/device/process_memory.h"
#include "runtime/generation/generator.h"
#include "runtime/generation/model_folder.h"
#include "runtime/generation/sampling.h"
#include "runtime/job/agreement.h"
#include "runtime/job/connection.h"

namespace trine {
namespace {

constexpr int64_t kLongestBlock = 512;  // tokens of a prefill: longer prompts go in several
constexpr double kUsualTimeoutS = 600;  // for another rank, which may read its weights from a slow disk

struct Request {
  std::string model, tokenizer, prompt, prompt_ids;
  bool has_prompt = false, has_prompt_ids = false;
  int64_t max_tokens = 256;
  SamplingOptions sampling;
  std::string dtype = "bf16", device = "cpu";
  bool ignore_eos = false, print_ids = false;
  int tp = 1, threads = 0;
  double timeout_s = kUsualTimeoutS;

  std::chrono::milliseconds timeout() const { return to_timeout(timeout_s); }
};

void check(const Request& r, const Launch& launch, Problems& problems) {
  const auto need = [&](bool holds, const char* flag, auto value, const char* what) {
    if (!holds) problems.add("flags", "{} is {}; it needs {}.", flag, value, what);
  };
  if (r.model.empty()) problems.add("flags", "no --model. Name a folder with config.json and weights.");
  if (r.has_prompt && r.has_prompt_ids)
    problems.add("flags", "both --prompt and --prompt-ids are given. Keep one of them.");
  need(r.max_tokens >= 1 && r.max_tokens <= (1 << 30), "--max-tokens", r.max_tokens, "1 to 2^30");
  need(r.sampling.temperature >= 0 && r.sampling.temperature <= 1e6, "--temperature", r.sampling.temperature,
       "0 (greedy) or more");
  need(r.sampling.top_k >= 0, "--top-k", r.sampling.top_k, "0 (all) or more");
  need(r.sampling.top_p > 0 && r.sampling.top_p <= 1, "--top-p", r.sampling.top_p, "more than 0, at most 1");
  need(r.dtype == "bf16" || r.dtype == "f32", "--dtype", r.dtype, "bf16 or f32");
  need(parse_enum<DeviceKind>(r.device).has_value(), "--device", r.device, "cpu or cuda");
  need(r.tp >= 1 && r.tp <= 4096, "--tp", r.tp, "1 to 4096");
  need(r.threads >= 0 && r.threads <= 4096, "--threads", r.threads, "0 (the cores there are) to 4096");
  need(r.timeout_s >= kShortestTimeoutS, "--timeout", r.timeout_s, "0.001 seconds or more");
  if (launch.num_ranks > 1 && launch.num_ranks != r.tp)
    problems.add("mesh", "{} ranks, but --tp {}. Start as many ranks as --tp says, or one.", launch.num_ranks,
                 r.tp);
}

// False if --help or --version was printed.
bool parse(int argc, const char* const* argv, const Launch& launch, Request& r) {
  CLI::App app("Continues a text with a LLaMA model. Text goes to stdout as it comes, speed to stderr.",
               "generate_llama");
  const auto add = [&](const char* group, const char* flag, auto& value, const char* type, const char* help) {
    auto* option = with_numbers<std::remove_reference_t<decltype(value)>>(app.add_option(flag, value, help));
    return option->type_name(type)->group(group);
  };
  add("Model", "--model", r.model, "DIR",
      "a run folder, a checkpoint, or a folder with config.json and safetensors");
  add("Model", "--tokenizer", r.tokenizer, "bytes|FILE", "default: the model folder's");
  const auto* prompt = add("Prompt", "--prompt", r.prompt, "TEXT", "the text to continue (default: an empty one)");
  const auto* ids =
      add("Prompt", "--prompt-ids", r.prompt_ids, "1,2,3", "the same as token ids, taken as they are");
  add("Sampling", "--max-tokens", r.max_tokens, "N", "tokens to generate at most (default: 256)");
  add("Sampling", "--temperature", r.sampling.temperature, "T", "divides the logits; 0 is --greedy (default: 1)");
  add("Sampling", "--top-k", r.sampling.top_k, "K", "only the K most likely tokens (default: 0, all)");
  add("Sampling", "--top-p", r.sampling.top_p, "P", "only the fewest tokens that reach probability P (default: 1)");
  app.add_flag("--greedy", r.sampling.greedy, "always the most likely token")->group("Sampling");
  add("Sampling", "--seed", r.sampling.seed, "N", "same seed, same text (default: 1234)");
  app.add_flag("--ignore-eos", r.ignore_eos, "go on behind an end of text")->group("Sampling");
  app.add_flag("--print-ids", r.print_ids, "token ids instead of text")->group("Output");
  add("Device", "--device", r.device, "cpu|cuda", "where the model runs (default: cpu)");
  add("Device", "--dtype", r.dtype, "bf16|f32", "of weights, activations and KV cache (default: bf16)");
  add("Device", "--tp", r.tp, "N", "ranks that share the model: threads of this process, or mpirun's (default: 1)");
  add("Device", "--threads", r.threads, "N", "per rank (default: the cores / ranks of this host)");
  add("Device", "--timeout", r.timeout_s, "SECONDS", "longest wait for another rank (default: 600)");
  Problems problems;
  if (!parse_flags(app, argc, argv, problems)) return false;
  r.has_prompt = prompt->count() > 0;
  r.has_prompt_ids = ids->count() > 0;
  check(r, launch, problems);
  problems.throw_if_any();
  if (r.sampling.temperature == 0) r.sampling.greedy = true;
  return true;
}

std::vector<int32_t> parse_ids(const std::string& text) {
  std::vector<int32_t> ids;
  const char *at = text.data(), *const end = at + text.size();
  while (true) {
    const auto [next, error] = std::from_chars(at, end, ids.emplace_back());
    if (error != std::errc{} || (next != end && *next != ','))
      throw ConfigError(
          fmt::format("[flags] --prompt-ids {}: need ids with commas between them, like 1,2,3.", text));
    if (next == end) return ids;
    at = next + 1;
  }
}

// What all ranks agree on before the plan.
struct Job {
  Request request;
  ModelFolder model;
  std::unique_ptr<Tokenizer> tokenizer;  // null: ids in, ids out
  std::vector<int32_t> prompt;
  std::vector<int> ends;  // any of these ends the text
};

// What the tokenizer begins a prompt with, then the text. An empty prompt needs something in front of it: the begin
// of text, or, where streams have none (bytes), the end of another document.
std::vector<int32_t> encode(const Job& job) {
  const TextMarks& marks = job.tokenizer->marks();
  std::vector<int32_t> ids = marks.prefix;
  if (!marks.begin && job.model.config.bos >= 0) ids = {job.model.config.bos};  // the model alone says it
  job.tokenizer->encode(job.request.prompt, ids);
  if (ids.empty() && job.tokenizer->name() != "bytes" && marks.begin) ids = {*marks.begin};
  if (ids.empty() && !marks.ends.empty()) ids = {marks.ends.front()};
  if (ids.empty())
    throw ConfigError("[flags] the prompt is empty and the model has no begin of text. Give --prompt.");
  return ids;
}

Job make_job(Request request) {
  Job job{.request = std::move(request), .model = {}, .tokenizer = nullptr, .prompt = {}, .ends = {}};
  const Request& r = job.request;
  job.model = open_model(r.model);
  const LlamaConfig& config = job.model.config;
  const std::string spec = r.tokenizer.empty() ? job.model.tokenizer : r.tokenizer;
  const bool needs_text = !r.has_prompt_ids || !r.print_ids;
  if (!spec.empty() && needs_text) job.tokenizer = make_tokenizer(spec);
  if (!job.tokenizer && !r.has_prompt_ids)
    throw ConfigError(
        fmt::format("[flags] {} has no tokenizer. Give --tokenizer bytes|FILE, or --prompt-ids.", r.model));
  job.prompt = r.has_prompt_ids ? parse_ids(r.prompt_ids) : encode(job);
  for (const int32_t id : job.prompt)
    if (id < 0 || id >= config.vocab)
      throw ConfigError(
          fmt::format("[flags] prompt id {} is not within the model's vocabulary of {}{}.", id, config.vocab,
                      r.has_prompt_ids ? ""
                                       : fmt::format("; tokenizer {} has {}. Use another --tokenizer",
                                                     job.tokenizer->name(), job.tokenizer->vocab_size())));
  if (std::ssize(job.prompt) > config.max_position)
    throw ConfigError(fmt::format("[flags] the prompt has {} tokens, the model was made for {}. Shorten it.",
                                  job.prompt.size(), config.max_position));
  job.ends = config.eos;
  if (job.ends.empty() && job.tokenizer) job.ends = job.tokenizer->marks().ends;
  return job;
}

InferencePlan make_plan(const Job& job) {
  const auto prompt = std::ssize(job.prompt), block = std::min(prompt, kLongestBlock);
  const InferenceShape shape{.block = block,
                             .max_seq = std::max(round_up(prompt, block), prompt + job.request.max_tokens),
                             .dtype = job.request.dtype == "f32" ? DType::kF32 : DType::kBF16};
  return build_inference_plan(job.model.config, shape, job.request.tp,
                              Target(*parse_enum<DeviceKind>(job.request.device), job.request.threads));
}

// `ranks_here` share the host's memory. Each rank takes a GPU's for itself;
// where several take one, the last is refused.
void check_memory(const InferencePlan& plan, const Backend& backend, int ranks_here) {
  const auto room = backend.room();
  const int64_t own = plan.memory.total_bytes(), need = room ? own + outside_plan_estimate({}) : own * ranks_here;
  const int64_t have = room ? room->free_bytes : available_bytes();
  if (need > have)
    throw OutOfMemoryError(fmt::format(
        "[memory] the plan needs {} on this {}, and only {} can be had. Per rank:\n{}Lower --max-tokens, "
        "or use more hosts with mpirun and --tp.",
        format_bytes(need), room ? "GPU" : "host", format_bytes(have), print(plan.memory)));
}

struct Speed {
  int64_t tokens = 0;
  double seconds = 0;
  std::string text() const {
    return fmt::format("{} token{} in {:.3f} s{}", tokens, tokens == 1 ? "" : "s", seconds,
                       tokens > 0 ? fmt::format(", {:.1f} tok/s", static_cast<double>(tokens) / seconds) : "");
  }
};

// Ids separated by commas, or text, to stdout; nothing on other ranks than the first.
class Printer {
 public:
  Printer(const Job& job, bool prints) : prints_(prints) {
    if (job.tokenizer && !job.request.print_ids) text_.emplace(*job.tokenizer, job.prompt);
  }
  void add(int32_t id) {
    show(text_ ? text_->add(id) : (first_ ? "" : ",") + std::to_string(id));
    first_ = false;
  }
  // Whether somebody still reads: other ranks do not know.
  bool is_read() const { return !prints_ || std::ferror(stdout) == 0; }
  void finish() { show((text_ ? text_->finish() : "") + "\n"); }

 private:
  void show(const std::string& text) const {
    if (prints_) say(stdout, text);
  }

  const bool prints_;
  bool first_ = true;
  std::optional<TextStream> text_;
};

void generate(const Job& job, const InferencePlan& plan, Generator& generator, bool prints, bool alone) {
  const auto timed = [](Speed& speed, int64_t tokens, auto&& run) {
    const int64_t begin_ns = now_ns();
    const std::span<const float> logits = run();
    speed.seconds += seconds_since(begin_ns);
    speed.tokens += tokens;
    return logits;
  };
  Speed prefill, decode;
  Printer printer(job, prints);
  std::span<const float> logits =
      timed(prefill, std::ssize(job.prompt), [&] { return generator.prefill(job.prompt); });
  for (int64_t i = 0; i < job.request.max_tokens; ++i) {
    const int32_t id = sample_token(logits, job.request.sampling, generator.position());
    if (!job.request.ignore_eos && std::count(job.ends.begin(), job.ends.end(), id) > 0) break;
    printer.add(id);
    if (alone && !printer.is_read()) break;
    if (i + 1 < job.request.max_tokens) logits = timed(decode, 1, [&] { return generator.decode(id); });
  }
  printer.finish();
  if (prints)
    say(stderr, "prefill {} | decode {} | KV cache {} per rank, {} tokens\n", prefill.text(), decode.text(),
        format_bytes(plan.cache_bytes()), plan.shape.max_seq);
}

// What all ranks must have found the same. The prompt's ids stand for the tokenizer, the last norm for the weights:
// training changes all of it in every step.
Facts facts_of(const Job& job) {
  const Request& r = job.request;
  const LlamaConfig& c = job.model.config;
  const SamplingOptions& s = r.sampling;
  std::vector<float> norm(static_cast<size_t>(c.hidden));
  job.model.weights("model.norm.weight", 0, norm);
  const std::string_view bytes(reinterpret_cast<const char*>(norm.data()), norm.size() * sizeof(float));
  Facts facts = {{"the program", version_number() + ", commit " + version_commit()},
                 {"--max-tokens", std::to_string(r.max_tokens)},
                 {"--temperature", std::to_string(s.temperature)},
                 {"--top-k", std::to_string(s.top_k)},
                 {"--top-p", std::to_string(s.top_p)},
                 {"--greedy", std::to_string(s.greedy)},
                 {"--seed", std::to_string(s.seed)},
                 {"--dtype", r.dtype},
                 {"--device", r.device},
                 {"--ignore-eos", std::to_string(r.ignore_eos)},
                 {"the prompt's ids", fmt::format("{}", fmt::join(job.prompt, ","))},
                 {"the ids that end a text", fmt::format("{}", fmt::join(job.ends, ","))},
                 {"the weight of the last norm (a hash)", hex(xxh3(bytes))}};
  const nlohmann::json model = to_hugging_face(c, r.dtype);
  for (const auto& [name, value] : model.items()) facts.emplace_back("the model's " + name, value.dump());
  return facts;
}

// One rank; `fabric`: nullptr if it is the only one.
void run_rank(const Job& job, const InferencePlan& plan, Fabric* fabric, int ranks_here) {
  std::optional<CommWorld> world;
  if (fabric) world.emplace(*fabric, plan.mesh(), job.request.timeout());
  Communicator* const tp = world ? &(*world)[Group::kTp] : nullptr;
  const auto backend = make_backend(*parse_enum<DeviceKind>(job.request.device), plan.threads, tp);
  std::optional<Generator> generator;
  run_agreed(tp, [&] {
    check_memory(plan, *backend, ranks_here);
    generator.emplace(plan, *backend, tp);
  });
  run_agreed(tp, [&] { generator->set_parameters(job.model.weights); });
  generate(job, plan, *generator, !fabric || fabric->rank() == 0, !fabric);
  run_agreed(tp, [] { check_said(); });
}

ExitCode run(int argc, const char* const* argv, Connection& connection) {
  const Launch& launch = connection.launch;
  Communicator* const all = connection.all;
  Request request;
  bool goes_on = false;
  run_on_first(all, [&] { goes_on = parse(argc, argv, launch, request); });  // and prints what is asked for
  if (told_by_first(all, goes_on ? "" : "end") == "end") return ExitCode::kOk;
  run_agreed(all, [&] {
    if (!connection.is_first()) parse(argc, argv, launch, request);
  });
  connection.set_timeout(request.timeout());
  if (request.threads == 0) {
    const HostCores host = host_cores(connection.session);
    request.threads = std::max(1, host.cores / (connection.session ? host.ranks : request.tp));
  }
  std::optional<Job> job;
  run_agreed(all, [&] {
    check_device(*parse_enum<DeviceKind>(request.device));
    job.emplace(make_job(request));
  });
  Facts facts;
  run_agreed(all, [&] { facts = facts_of(*job); });
  check_same_on_all(all, facts);
  if (connection.is_first())
    for (const std::string& line : job->model.passed_over)
      say(stderr, "warning: passed over checkpoint {}\n", line);
  if (connection.is_first() && job->tokenizer && !job->tokenizer->note().empty())
    say(stderr, "warning: {}\n", job->tokenizer->note());
  std::optional<InferencePlan> plan;
  run_agreed(all, [&] { plan.emplace(make_plan(*job)); });
  const int64_t positions = std::ssize(job->prompt) + job->request.max_tokens;
  if (connection.is_first() && positions > job->model.config.max_position)
    say(stderr, "warning: up to {} tokens, the model was made for {}.\n", positions,
        job->model.config.max_position);
  if (connection.session || job->request.tp == 1) {
    run_rank(*job, *plan, connection.session, launch.ranks_on_host);
    return ExitCode::kOk;
  }
  run_local_ranks(job->request.tp, [&](Fabric& fabric) {
    try {
      run_rank(*job, *plan, &fabric, job->request.tp);
    } catch (...) {
      fabric.give_up(std::current_exception());
      throw;
    }
  });
  return ExitCode::kOk;
}

}  // namespace
}  // namespace trine

int main(int argc, char** argv) {
  trine::begin_program();
  const auto timeout = trine::early_timeout(argc, argv, trine::to_timeout(trine::kUsualTimeoutS));
  return trine::run_connected("generate_llama: ", timeout,
                              [&](trine::Connection& connection) { return trine::run(argc, argv, connection); });
}
