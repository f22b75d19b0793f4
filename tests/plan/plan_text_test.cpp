// What --dry-run and the --print flags say, against closed forms for LLaMA written here.
//
// L layers, h hidden, H and G heads of queries and of keys and values, d their size, f ffn, V vocab; s tokens of a
// sequence, b sequences of a microbatch, m microbatches; t, p, n ranks on tp, pp, dp.
#include "plan/printing/plan_text.h"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unistd.h>

#include "base/text.h"
#include "models/llama.h"
#include "plan/config/flags.h"
#include "plan/host_memory.h"
#include "plan/step_work.h"

namespace trine {
namespace {

using nlohmann::json;
using testing::HasSubstr;

Plan plan_of(std::vector<std::string> args) {
  args.insert(args.begin(), {"train_llama", "--dry-run"});
  std::vector<const char*> argv;
  for (const std::string& arg : args) argv.push_back(arg.c_str());
  return build_plan(std::get<Config>(
      parse_train_flags(static_cast<int>(argv.size()), argv.data(), {1, 1, 2, "20250131-235959"}, "")));
}

// tiny with 8 heads of 16, 4 of keys and values: tp 4 divides all.
Plan tiny_plan(std::vector<std::string> args) {
  args.insert(args.end(), {"--heads", "8", "--kv-heads", "4"});
  return plan_of(std::move(args));
}

// Executions, and bytes sent, in a step of one pipeline rank.
struct Sent {
  int64_t count = 0, bytes = 0;
  bool operator==(const Sent&) const = default;
};
Sent sent(const Plan& plan, Axis axis, std::string_view op, size_t pp = 0) {
  for (const Traffic& t : step_work(plan.stages[pp], plan.config.num_microbatches()).traffic)
    if (t.axis == axis && t.op == op) return {t.count, t.bytes};
  return {};
}

// What one layer adds.
Sent of_a_layer(std::string_view op, std::vector<std::string> args) {
  args.insert(args.end(), {"--layers", "4"});
  const Sent four = sent(tiny_plan(args), Axis::kTp, op);
  args.back() = "3";
  const Sent three = sent(tiny_plan(args), Axis::kTp, op);
  return {four.count - three.count, four.bytes - three.bytes};
}

constexpr int64_t h = 128, s = 128, b = 2, m = 16;  // of --micro-batch 2 at tiny's 32 sequences

constexpr int64_t k70B = 68'976'648'192;

const Plan& plan_of_70b() {
  static const Plan plan = plan_of({"--model", "llama2-70b", "--ranks", "2048", "--tp", "8", "--pp", "16"});
  return plan;
}

TEST(DryRun, Llama70BHasItsExactParametersAndTheArticlesStates) {
  constexpr int64_t L = 80, hidden = 8192, H = 64, G = 8, d = 128, f = 28672, V = 32000;
  static_assert(L * (2 * hidden * H * d + 2 * hidden * G * d + 3 * hidden * f + 2 * hidden) + hidden +
                    2 * V * hidden ==
                k70B);
  const json report = dry_run_json(plan_of_70b());
  EXPECT_EQ(report["parameters"], k70B);
  int64_t sum = 0;
  for (const json& rank : report["pipeline_ranks"]) sum += rank["parameters"].get<int64_t>();
  EXPECT_EQ(sum, k70B);

  const json& states = report["model_state_bytes"];
  const auto expect = [&](const char* key, double weights, double gradients, double adam) {
    EXPECT_EQ(states[key]["weights"], weights) << key;
    EXPECT_EQ(states[key]["gradients"], gradients) << key;
    EXPECT_EQ(states[key]["adam"], adam) << key;
    EXPECT_EQ(states[key]["total"], weights + gradients + adam) << key;
  };
  const double P = static_cast<double>(k70B);
  expect("article_nominal", 140e9, 140e9, 840e9);
  expect("article", 2 * P, 2 * P, 12 * P);
  expect("trine", 2 * P, 4 * P, 12 * P);
  EXPECT_THAT(print_dry_run(plan_of_70b()), HasSubstr("140.0     140.0     840.0    1120.0"));
}

// Every parameter of a 70B layer divides by tp 8 and by 256; buckets are padded to shares of 256 for 16 dp ranks.
TEST(DryRun, MemoryOfARankIsItsShareOfTheStates) {
  const json report = dry_run_json(plan_of_70b());
  for (const json& rank : report["pipeline_ranks"]) {
    const json& memory = rank["memory_bytes"];
    int64_t total = 0;
    for (const auto& [part, bytes] : memory.items())
      if (part != "total") total += bytes.get<int64_t>();
    EXPECT_EQ(total, memory["total"]);
    // Norm weights are whole on each tp rank.
    const size_t pp = rank["pp"];
    const int64_t parameters = rank["parameters"], norms = 8192 * (2 * 5 + (pp == 15 ? 1 : 0));
    const int64_t local = (parameters - norms) / 8 + norms, padding = 30 * 16 * 256;
    const int64_t weights = memory["weights"];
    EXPECT_GE(weights, 2 * local);
    EXPECT_LE(weights, 2 * (local + padding));
    EXPECT_EQ(memory["gradients"], 2 * weights);
    EXPECT_EQ(memory["Adam"], 6 * weights / 16);
    EXPECT_EQ(memory["total"], plan_of_70b().stages[pp].memory.total_bytes());
  }
}

// Megatron: two all-reduces of 2 s b h bytes in forward and two in backward; a ring sends 2 (t-1)/t of that.
// A rank's share of the states is 3.8 GB (6,738,415,616 x 18 B / 32); one sequence in a microbatch leaves it below
// 10 GiB, where 64 of them would ask for more than any card has.
TEST(DryRun, ALargeModelGoesOneSequenceAtATime) {
  const Plan plan = plan_of({"--model", "llama2-7b", "--tp", "8", "--pp", "4", "--ranks", "32"});
  EXPECT_EQ(plan.config.micro_batch, 1);
  for (const StagePlan& stage : plan.stages) EXPECT_LT(stage.memory.total_bytes(), int64_t{10} << 30);
}

TEST(DryRun, WarnsOfWhatExceedsTheBudget) {
  const std::vector<std::string> tiny = {"--model", "tiny", "--threads", "2"};
  const auto warnings = [&](std::vector<std::string> more) {
    more.insert(more.begin(), tiny.begin(), tiny.end());
    const Plan plan = plan_of(more);
    EXPECT_THAT(print_dry_run(plan), HasSubstr("memory     of a rank"));
    return dry_run_json(plan)["warnings"].dump();
  };
  EXPECT_EQ(warnings({"--memory-budget", "1GiB"}), "[]");
  EXPECT_THAT(warnings({"--memory-budget", "40MiB"}),
              HasSubstr("--memory-budget is 40.0 MiB, but a rank of stage 0"));
  const std::string none_fits = warnings({"--memory-budget", "10MiB", "--recompute", "auto"});
  EXPECT_THAT(none_fits, HasSubstr("the least of all policies"));
  EXPECT_THAT(none_fits, testing::Not(HasSubstr("--recompute auto")));
  const Plan plan = plan_of({"--model", "tiny", "--memory-budget", "40MiB"});
  EXPECT_THAT(print_dry_run(plan), HasSubstr("warning: [memory] --memory-budget"));
}

TEST(Volume, TensorParallel) {
  for (const int64_t t : {2, 4}) {
    const std::string tp = std::to_string(t);
    const std::vector<std::string> args = {"--ranks", tp, "--tp", tp, "--sp", "off", "--micro-batch", "2"};
    EXPECT_EQ(of_a_layer("all_reduce", args), (Sent{4 * m, 4 * m * (2 * s * b * h) * 2 * (t - 1) / t}));
    EXPECT_EQ(of_a_layer("all_gather", args), Sent{});
    EXPECT_EQ(of_a_layer("reduce_scatter", args), Sent{});
  }
}

// Korthikanti et al. 2022: an all-reduce is a gather and a scatter; two more gathers, since gathered activations
// are not kept for the weight gradients. Recomputing a layer repeats the scatter between its halves; its gathers
// serve the weight gradients.
TEST(Volume, SequenceParallel) {
  for (const int64_t t : {2, 4}) {
    const std::string tp = std::to_string(t);
    const std::vector<std::string> args = {"--ranks", tp, "--tp", tp, "--micro-batch", "2"};
    const int64_t one = 2 * s * b * h * (t - 1) / t;
    EXPECT_EQ(of_a_layer("all_gather", args), (Sent{6 * m, 6 * m * one}));
    EXPECT_EQ(of_a_layer("reduce_scatter", args), (Sent{4 * m, 4 * m * one}));
    std::vector<std::string> full = args;
    full.insert(full.end(), {"--recompute", "full"});
    EXPECT_EQ(of_a_layer("all_gather", full), (Sent{6 * m, 6 * m * one}));
    EXPECT_EQ(of_a_layer("reduce_scatter", full), (Sent{5 * m, 5 * m * one}));
  }
}

// Gradients are f32 and reduced once a step: 2 (n-1)/n of their bytes. ZeRO-1 scatters them and gathers weights.
TEST(Volume, DataParallel) {
  constexpr int64_t n = 4, kScalars = 1024;  // norm, loss, count of tokens
  const auto plan = [](std::vector<std::string> more) {
    more.insert(more.end(), {"--ranks", "4", "--micro-batch", "2"});
    return tiny_plan(std::move(more));
  };
  const auto gradient_bytes = [](const Plan& p) {
    return json(dry_run_json(p))["pipeline_ranks"][0]["memory_bytes"]["gradients"].get<int64_t>();
  };
  const Plan whole = plan({"--zero", "0"});
  const int64_t G = gradient_bytes(whole), parameters = parameter_count(whole.config.model);
  EXPECT_GE(G, 4 * parameters);
  EXPECT_LT(G, 4 * parameters * 1.01);
  const int64_t reduced = sent(whole, Axis::kDp, "all_reduce").bytes - 2 * G * (n - 1) / n;
  EXPECT_GT(reduced, 0);
  EXPECT_LT(reduced, kScalars);
  EXPECT_EQ(sent(whole, Axis::kDp, "reduce_scatter"), Sent{});

  const Plan sharded = plan({"--zero", "1"});
  const int64_t S = gradient_bytes(sharded);
  EXPECT_EQ(sent(sharded, Axis::kDp, "reduce_scatter").bytes, S * (n - 1) / n);
  EXPECT_EQ(sent(sharded, Axis::kDp, "all_gather").bytes, S / 2 * (n - 1) / n);  // bf16
  EXPECT_LT(sent(sharded, Axis::kDp, "all_reduce").bytes, kScalars);

  const Plan half = plan({"--zero", "1", "--grad-reduce", "bf16"});
  EXPECT_EQ(sent(half, Axis::kDp, "reduce_scatter").bytes, S / 2 * (n - 1) / n);
}

// A microbatch crosses each edge once in each direction, 2 s b h bytes,
// or a share of 1/t with sequence parallelism.
TEST(Volume, Pipeline) {
  const auto expect = [](const Plan& plan, size_t pp, int64_t forward, int64_t backward, int64_t bytes) {
    const int64_t count = plan.config.num_microbatches();
    EXPECT_EQ(sent(plan, Axis::kPp, "send", pp), (Sent{forward * count, forward * count * bytes})) << "pp " << pp;
    EXPECT_EQ(sent(plan, Axis::kPp, "send_grad", pp), (Sent{backward * count, backward * count * bytes}))
        << "pp " << pp;
  };
  const Plan plan = tiny_plan({"--ranks", "4", "--pp", "4", "--micro-batch", "2"});
  expect(plan, 0, 1, 0, 2 * s * b * h);
  expect(plan, 1, 1, 1, 2 * s * b * h);
  expect(plan, 3, 0, 1, 2 * s * b * h);
  const Plan split = tiny_plan({"--ranks", "8", "--pp", "4", "--tp", "2", "--micro-batch", "2"});
  expect(split, 1, 1, 1, 2 * s * b * h / 2);
  const Plan chunks =
      tiny_plan({"--ranks", "4", "--pp", "4", "--vpp", "2", "--schedule", "interleaved", "--micro-batch", "2"});
  expect(chunks, 0, 2, 1, 2 * s * b * h);
  expect(chunks, 1, 2, 2, 2 * s * b * h);
  expect(chunks, 3, 1, 2, 2 * s * b * h);
}

double flops_of_all_ranks(const Plan& plan) {
  double flops = 0;
  for (const StagePlan& stage : plan.stages) flops += step_work(stage, plan.config.num_microbatches()).flops;
  return flops * plan.config.mesh.dp * plan.config.mesh.tp;
}

TEST(Flops, AMatrixCostsSixPerTokenAndElement) {
  const double wide = flops_of_all_ranks(tiny_plan({"--ffn", "600"}));
  const double narrow = flops_of_all_ranks(tiny_plan({"--ffn", "500"}));
  const double tokens = 32 * s, L = 8;
  EXPECT_NEAR((wide - narrow) / (6 * tokens * L * 3 * h * 100), 1, 0.01);
}

TEST(Flops, LayoutsDoTheSameWork) {
  const double one = flops_of_all_ranks(tiny_plan({}));
  for (const std::vector<std::string>& args : std::vector<std::vector<std::string>>{
           {"--ranks", "4", "--tp", "4"},
           {"--ranks", "4", "--pp", "4"},
           {"--ranks", "8", "--pp", "2", "--tp", "2"},
           {"--ranks", "4", "--pp", "4", "--vpp", "2", "--schedule", "interleaved"},
           {"--ranks", "2", "--pp", "2", "--schedule", "zero-bubble"}})
    EXPECT_NEAR(flops_of_all_ranks(tiny_plan(args)) / one, 1, 0.01) << args[1] << args[2];
  // Full recomputation runs most of forward, a third of the work, again.
  const double full = flops_of_all_ranks(tiny_plan({"--recompute", "full"})) / one;
  EXPECT_GT(full, 1.2);
  EXPECT_LT(full, 4.0 / 3);
}

TEST(PrintSchedule, RowsActionsAndTheoryOfTheBubble) {
  const Plan plan = tiny_plan({"--ranks", "4", "--pp", "4", "--layers", "16", "--global-batch", "8", "--vocab", "8",
                               "--eos", "none", "--bos", "-1", "--micro-batch", "1"});
  const std::string text = print_schedule(plan);
  EXPECT_THAT(text, HasSubstr("1f1b: pp 4, vpp 1, 8 microbatches: bubble 27."));
  EXPECT_THAT(text, HasSubstr("(p-1)/(m+p-1) = 27.3 % for equal stages"));
  EXPECT_THAT(text, HasSubstr("\nrank 3 | .  .  .  F0 B0--- F1 B1--- F2 B2---"));
  EXPECT_THAT(text, HasSubstr("\nrank 3, 1 in flight: " + to_string(plan.stages[3].schedule)));
  EXPECT_THAT(text, HasSubstr("\nrank 0, 4 in flight: " + to_string(plan.stages[0].schedule)));
  const auto formula = [](std::vector<std::string> args) {
    args.insert(args.end(), {"--ranks", "4", "--pp", "4", "--micro-batch", "4"});
    return print_schedule(tiny_plan(std::move(args)));
  };
  EXPECT_THAT(formula({"--schedule", "interleaved", "--vpp", "2"}), HasSubstr("(p-1)/(v m+p-1) = 15.8 %"));
  EXPECT_THAT(formula({"--schedule", "zero-bubble"}), HasSubstr("(p-1)/(3 m+p-1) = 11.1 %"));
}

// The last stage has the head: the others wait for it, and the bubble is more than in theory.
TEST(PrintSchedule, CostsAreThoseOfTheStages) {
  const Plan plan =
      tiny_plan({"--ranks", "2", "--pp", "2", "--layers", "2", "--vocab", "32000", "--micro-batch", "2"});
  const std::vector<ActionTimes> costs = action_times(plan);
  ASSERT_EQ(costs.size(), 2u);
  EXPECT_EQ(costs[0].forward, 1);
  const LlamaConfig& model = plan.config.model;
  const double head = static_cast<double>(model.vocab * model.hidden);
  const double layer = static_cast<double>(matmul_parameters(model)) - head;
  EXPECT_NEAR(costs[1].forward, 1 + 2 * head / layer, 0.1 * costs[1].forward);
  EXPECT_GT(costs[0].input_grad + costs[0].weight_grad, 1.8);
}

TEST(PrintSchedule, ThePictureGoesToOutOrToTheCurrentFolder) {
  const auto folder = std::filesystem::temp_directory_path() / ("trine-report-" + std::to_string(::getpid()));
  const Plan plan = tiny_plan({"--print-schedule", "--ranks", "2", "--pp", "2", "--out", folder.string()});
  std::ostringstream out;
  print_report(plan, out);
  const auto picture = folder / "schedule.svg";
  EXPECT_THAT(out.str(), HasSubstr("picture: " + picture.string()));
  EXPECT_THAT(out.str(), HasSubstr("model      tiny"));
  std::ostringstream svg;
  svg << std::ifstream(picture).rdbuf();
  EXPECT_EQ(svg.str(), schedule_picture(plan));
  EXPECT_THAT(svg.str(), HasSubstr("<title>pp 2, 8 microbatches: bubble "));
  EXPECT_THAT(svg.str(), HasSubstr("; (p-1)/(m+p-1) = 11.1 % for equal stages</title>"));
  print_report(plan, out);  // one from before is replaced, nothing else is
  std::ofstream(picture) << "<svg>of somebody</svg>";
  EXPECT_THROW(print_report(plan, out), ConfigError);
  std::ostringstream kept;
  kept << std::ifstream(picture).rdbuf();
  EXPECT_EQ(kept.str(), "<svg>of somebody</svg>");
  std::filesystem::remove_all(folder);
  EXPECT_EQ(schedule_picture_path(tiny_plan({"--print-schedule"}).config), "schedule.svg");
}

// A checkpoint is written from a copy of master, momentum and variance, each parameter's once over all ranks.
TEST(HostMemory, TheSnapshotHasTwelveBytesForEachParameter) {
  const auto snapshots = [](const Plan& plan) {
    int64_t sum = 0;
    for (int rank = 0; rank < plan.config.mesh.num_ranks(); ++rank) {
      const Coordinate at = plan.config.mesh.coordinate(rank);
      const HostMemory memory = host_memory(plan.stages[static_cast<size_t>(at.pp)], plan.config, at);
      EXPECT_EQ(memory.pinned_bytes, 0) << "the CPU has none";
      EXPECT_LE(memory.snapshot_bytes, host_memory(plan, static_cast<size_t>(at.pp)).snapshot_bytes);
      sum += memory.snapshot_bytes;
    }
    return sum;
  };
  for (const std::vector<std::string>& layout : std::vector<std::vector<std::string>>{
           {},
           {"--ranks", "4", "--tp", "4"},
           {"--ranks", "8", "--pp", "2", "--tp", "2", "--zero", "0"},
           {"--ranks", "8", "--pp", "2", "--tp", "2", "--tie-embeddings", "on"}}) {
    std::vector<std::string> args = layout;
    args.insert(args.end(), {"--save-interval", "10"});
    const Plan plan = tiny_plan(args);
    EXPECT_EQ(snapshots(plan), 12 * parameter_count(plan.config.model));
    args.insert(args.end(), {"--eval-only", "--valid-fraction", "0.1"});
    EXPECT_EQ(snapshots(tiny_plan(args)), 0);
  }
  EXPECT_EQ(snapshots(tiny_plan({})), 0) << "it does not save";
}

TEST(HostMemory, IsPrinted) {
  const Plan plan = tiny_plan({"--save", "elsewhere"});
  const int64_t snapshot = 12 * parameter_count(plan.config.model);
  EXPECT_THAT(print_memory(plan),
              testing::ContainsRegex("snapshot of a checkpoint +" + format_count(snapshot) + " B"));
  EXPECT_THAT(print_plan(plan), HasSubstr("planned, and " + format_bytes(snapshot) + " beside it on the host"));
  EXPECT_THAT(print_dry_run(plan), HasSubstr(format_bytes(snapshot) + " for the snapshot of a checkpoint"));
  EXPECT_EQ(dry_run_json(plan)["pipeline_ranks"][0]["host_bytes"]["snapshot"], snapshot);
  for (const std::string& text : {print_memory(tiny_plan({})), print_dry_run(tiny_plan({}))})
    EXPECT_EQ(text.find("snapshot"), std::string::npos);
}

// Batch, four segments of 4 MiB, a buffer for the largest collective of each lane,
// and one for each pipeline message.
TEST(HostMemory, PinnedBuffersOfCuda) {
  const auto pinned = [](std::vector<std::string> args) {
    args.insert(args.end(), {"--device", "cuda", "--micro-batch", "2"});
    return host_memory(tiny_plan(args), 0).pinned_bytes;
  };
  const int64_t batch = 2 * 32 * s * 4, segments = 16 << 20, message = 2 * s * b * h;
  EXPECT_EQ(pinned({}), batch + segments);
  EXPECT_EQ(pinned({"--ranks", "2", "--pp", "2", "--comm", "nccl"}), batch + segments);
  EXPECT_EQ(pinned({"--ranks", "2", "--dp", "2", "--comm", "nccl"}), batch / 2 + segments);
  const int64_t pipeline = pinned({"--ranks", "2", "--pp", "2"}) - batch - segments;
  EXPECT_GE(pipeline, 3 * message);  // two sent, one received
  EXPECT_LE(pipeline, 5 * message);
  // Gathered activations are the largest of tensor parallelism but for the logits' sums.
  EXPECT_GE(pinned({"--ranks", "2", "--tp", "2"}) - batch - segments, message);
}

TEST(PrintMemory, SummaryAboveTheTables) {
  const Plan plan = tiny_plan({"--ranks", "4", "--pp", "2", "--tp", "2", "--recompute", "selective"});
  const std::string text = print_memory(plan);
  EXPECT_THAT(text, HasSubstr("recompute selective\n"));
  for (size_t pp = 0; pp < 2; ++pp) {
    const std::string total = fmt::format("{} B", plan.stages[pp].memory.total_bytes());
    std::string plain = text;
    std::erase(plain, ',');
    EXPECT_LT(plain.find(total), plain.find("pp 0:")) << total;  // in the summary
    EXPECT_GT(plain.rfind(total), plain.find(fmt::format("pp {}:", pp))) << total;
  }
  EXPECT_THAT(text, testing::ContainsRegex("activations: layers.ffn: linear +4 x 2 in flight"));
}

}  // namespace
}  // namespace trine
