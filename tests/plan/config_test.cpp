#include "plan/config/config.h"

#include <filesystem>
#include <fmt/core.h>
#include <fstream>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <set>
#include <unistd.h>

#include "plan/config/flag_table.h"
#include "plan/config/flags.h"
#include "plan/learning_rate.h"
#include "tests/test_data.h"

namespace trine {
namespace {

constexpr const char* kTime = "20250131-235959";

CommandLine parse_line(const std::vector<std::string>& args, LaunchInfo launch = {1, 1, 2, kTime}) {
  std::vector<const char*> argv = {"train_llama"};
  for (const std::string& arg : args) argv.push_back(arg.c_str());
  return parse_train_flags(static_cast<int>(argv.size()), argv.data(), launch, "the version");
}
Config parse(const std::vector<std::string>& args, LaunchInfo launch = {1, 1, 2, kTime}) {
  return std::get<Config>(parse_line(args, launch));
}
std::string config_error(const std::vector<std::string>& args, LaunchInfo launch = {1, 1, 2, kTime}) {
  try {
    parse(args, launch);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& text)
      : path_(fmt::format("{}trine_config_test-{}.json", testing::TempDir(), ::getpid())) {
    std::ofstream(path_) << text;
  }
  ~TemporaryFile() { std::filesystem::remove(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::filesystem::path fixture(const char* name) { return std::filesystem::path(test_data()) / "hf_llama" / name; }

#define EXPECT_HAS(text, part) \
  EXPECT_NE((text).find(part), std::string::npos) << "no \"" << part << "\" in:\n" << text

TEST(Config, TinyDefaults) {
  const Config c = parse({});
  EXPECT_EQ(c.model_name, "tiny");
  EXPECT_EQ(c.model.layers, 8);
  EXPECT_EQ(c.seq, 128);
  EXPECT_EQ(c.global_batch, 32);
  EXPECT_EQ(c.micro_batch, 8);
  EXPECT_EQ(c.num_microbatches(), 4);
  EXPECT_EQ(c.steps, 300);
  EXPECT_EQ(c.lr, 2e-3);
  EXPECT_DOUBLE_EQ(c.min_lr, 2e-4);
  EXPECT_EQ(c.warmup, 15);
  EXPECT_EQ(c.dtype, DType::kBF16);
  EXPECT_EQ(c.loss_scale, LossScale{});
  EXPECT_EQ(c.valid_fraction, 0.05);
  EXPECT_EQ(c.threads, 2);
  EXPECT_EQ(c.out, std::string("runs/tiny-") + kTime);
  EXPECT_FALSE(c.trace.any());
  EXPECT_FALSE(c.random_tokens);
}

TEST(Config, DerivedDefaults) {
  EXPECT_EQ(parse({"--global-batch", "30"}).micro_batch, 6);  // 7 would leave 4, but does not divide
  EXPECT_EQ(parse({"--global-batch", "3"}).micro_batch, 1);
  EXPECT_DOUBLE_EQ(parse({"--lr", "0.5"}).min_lr, 0.05);
  EXPECT_EQ(parse({"--steps", "1000"}).warmup, 50);
  EXPECT_TRUE(parse({"--dtype", "fp16"}).loss_scale.dynamic);
  EXPECT_EQ(parse({"--data", "a"}).valid_fraction, 0);
  EXPECT_EQ(parse({"--seq", "4096"}).model.max_position, 4096);
  EXPECT_EQ(parse({}, {1, 1, 0, kTime}).threads, 1);

  // One sequence from a billion parameters on, whatever the batch, the ranks and the machine.
  const std::vector<std::string> above = {"--layers", "45",   "--hidden", "2048", "--heads",    "16",
                                          "--ffn",    "8192", "--vocab",  "259",  "--kv-heads", "2"};
  std::vector<std::string> below = above;
  below[1] = "16";
  EXPECT_GE(parameter_count(parse(above).model), 1'000'000'000);
  EXPECT_LT(parameter_count(parse(below).model), 1'000'000'000);
  EXPECT_EQ(parse(above).micro_batch, 1);
  EXPECT_EQ(parse(below).micro_batch, 8);
  EXPECT_EQ(parse({"--model", "llama2-70b"}, {8, 8, 64, kTime}).micro_batch, 1);
  EXPECT_EQ(parse({"--model", "llama2-7b", "--micro-batch", "4"}).micro_batch, 4);
  EXPECT_HAS(config_error({"--hidden", "99999999999", "--ffn", "99999999999999"}), "--ffn is 99999999999999");

  const Config bench = parse({"--model", "bench-s"});
  EXPECT_EQ(bench.micro_batch, 8);
  EXPECT_TRUE(bench.random_tokens);
  EXPECT_EQ(bench.valid_fraction, 0);
  EXPECT_FALSE(parse({"--model", "bench-s", "--data", "a"}).random_tokens);
}

TEST(Config, ModelFlagsChangeThePreset) {
  const Config c =
      parse({"--hidden-size", "256", "--num-layers=3", "--tie-embeddings", "on", "--rope-scaling", "llama3:8"});
  EXPECT_EQ(c.model.hidden, 256);
  EXPECT_EQ(c.model.head_dim, 64);
  EXPECT_EQ(c.model.layers, 3);
  EXPECT_TRUE(c.model.tie_embeddings);
  EXPECT_EQ(c.model.rope_scaling, (RopeScaling{RopeScaling::Kind::kLlama3, 8, 1, 4, 8192}));
  EXPECT_EQ(parse({"--hidden", "256", "--head-dim", "32"}).model.head_dim, 32);
}

TEST(Config, ModelFromAFolderAFileOrTheWeights) {
  const std::string dir = fixture("head_dim").string();
  const Config folder = parse({"--model", dir});
  EXPECT_EQ(folder.model.head_dim, 24);
  EXPECT_EQ(folder.seq, 256);  // as far as the model's positions go
  EXPECT_EQ(folder.out, std::string("runs/head_dim-") + kTime);
  EXPECT_EQ(parse({"--model", dir + "/config_v4.json"}).model, folder.model);
  EXPECT_EQ(parse({"--load-weights", dir}).model, folder.model);
  EXPECT_EQ(parse({"--load-weights", dir, "--model", "tiny"}).model.head_dim, 32);
  EXPECT_EQ(parse({"--model", dir, "--layers", "7"}).model.layers, 7);
  EXPECT_THROW(parse({"--model", "no/such/folder"}), DataError);
  EXPECT_HAS(config_error({"--model", "lama2-7b"}), "Did you mean llama2-7b?");
}

TEST(Config, JsonRoundTrip) {
  const std::vector<std::vector<std::string>> lines = {
      {},
      {"--model", fixture("gqa_tied_llama3").string(), "--dtype", "fp16", "--lr", "1.2345678901234567e-3"},
      {"--model", "bench-m", "--loss-scale", "1024.5", "--dtype", "fp16", "--trace", "3:7", "--trace-ranks", "0:0",
       "--timeout", "0.1"},
      {"--load-weights", fixture("head_dim").string(), "--eval-only", "--valid-data", "v", "--trace", "on", "--bos",
       "-1"},
      {"--data",
       "a b",
       "c",
       "--dump-pass",
       "autodiff",
       "--disable-pass",
       "x",
       "y",
       "--print-graph",
       "--quiet",
       "--shuffle",
       "off",
       "--seed",
       "9007199254740993",
       "--on-non-finite",
       "skip",
       "--lr-schedule",
       "linear",
       "--rope-scaling",
       "linear:2.5",
       "--eos",
       "1,2,3",
       "--dp",
       "1",
       "--clip",
       "0",
       "--print-plan"},
  };
  for (const auto& line : lines) {
    const Config config = parse(line);
    const TemporaryFile file(to_json(config).dump());
    const Config again = parse({"--config", file.path()}, {1, 1, 64, "another time"});
    EXPECT_EQ(to_json(again).dump(1), to_json(config).dump(1));
    EXPECT_TRUE(again == config);
  }
}

TEST(Config, AConfigFileNeedsTheModelsFolderNoLonger) {
  auto json = to_json(parse({"--model", fixture("deep").string()}));
  json["model"] = "/gone/deep";
  const TemporaryFile file(json.dump());
  EXPECT_EQ(parse({"--config", file.path()}).model, read_hugging_face_config(fixture("deep")));
}

TEST(Config, CommandLineOverFileOverPreset) {
  const TemporaryFile file(
      R"({"model": "small", "layers": 5, "lr": 0.25, "steps": 77, "data": ["x"], "shuffle": false})");
  const Config c = parse({"--config", file.path(), "--steps", "40"});
  EXPECT_EQ(c.model.hidden, 512);
  EXPECT_EQ(c.model.layers, 5);
  EXPECT_EQ(c.lr, 0.25);
  EXPECT_EQ(c.steps, 40);
  EXPECT_EQ(c.data, std::vector<std::string>{"x"});
  EXPECT_FALSE(c.shuffle);
  EXPECT_EQ(parse({"--config", file.path(), "--model", "tiny"}).model.layers, 8);
}

TEST(Config, FileProblemsAreAllReported) {
  const TemporaryFile file(
      R"({"layrs": 5, "layers": 5, "num-layers": 5, "lr": "0.1", "steps": 2.5, "quiet": 1, "data": [1], "dtype": "int8", "out": 3})");
  const std::string error = config_error({"--config", file.path(), "--global-batch", "0"});
  for (const char* part :
       {"'layrs' is not a flag. Did you mean layers?", "'layers' is there twice, as num-layers and by another name",
        "'lr' is \"0.1\"; it needs a number", "--steps got '2.5' but needs an integer",
        "'quiet' is 1; it needs true or false", "'data' is [1]; it needs a list of strings",
        "--dtype got 'int8' but needs one of bf16, fp16, f32", "'out' is 3; it needs a string",
        "--global-batch is 0"})
    EXPECT_HAS(error, part);
  EXPECT_HAS(error, "[" + file.path() + "]");
  const TemporaryFile broken("{\"lr\": ");
  EXPECT_THROW(parse({"--config", broken.path()}), DataError);
  EXPECT_THROW(parse({"--config", "no/such/file"}), DataError);
}

TEST(Config, AllFlagProblemsAtOnce) {
  const std::string error = config_error(
      {"--leyers", "3",  "--lr",     "abc", "--dtype",       "int8", "--kv-heads", "3", "stray",
       "--beta1",  "1",  "--warmup", "400", "--micro-batch", "5",    "-seq",       "3", "--valid-fraction=-0.1",
       "--seed",   "-1", "--steps",  "0x10"});
  for (const char* part :
       {"--leyers is not a flag. Did you mean --layers?", "--lr got 'abc' but needs a number.",
        "--dtype got 'int8'", "4 heads of queries cannot share 3", "'stray' belongs to no flag", "--beta1 is 1",
        "--warmup 400 is more than 300", "not a multiple of micro batch 5", "Did you mean --seq?",
        "--valid-fraction is -0.1", "--seed is -1", "--steps got '0x10' but needs an integer"})
    EXPECT_HAS(error, part);
}

TEST(Config, EachProblemIsFound) {
  const std::vector<std::pair<std::vector<std::string>, const char*>> cases = {
      {{"--layers", "-1"}, "--layers is -1; it needs 1 to 10000."},
      {{"--hidden", "130"}, "hidden 130 is not a multiple of 4 heads"},
      {{"--head-dim", "33"}, "head dim 33 is odd"},
      {{"--vocab", "99999999999"}, "--vocab is 99999999999"},
      {{"--vocab", "99999999999999999999"}, "--vocab got '99999999999999999999'"},
      {{"--rope-scaling", "linear:0.5"}, "factor 0.5"},
      {{"--rope-scaling", "yarn:2"}, "--rope-scaling got 'yarn:2'"},
      {{"--seq", "0"}, "--seq is 0"},
      {{"--seq", "16777216", "--micro-batch", "128", "--global-batch", "128"}, "tokens is more than"},
      {{"--lr", "0"}, "--lr is 0; it needs more than 0."},
      {{"--lr", "nan"}, "--lr got 'nan' but needs a number"},
      {{"--lr", "1e-3", "--min-lr", "1e-2"}, "--min-lr 0.01 is not within 0 and --lr 0.001"},
      {{"--beta2", "-0.5"}, "--beta2 is -0.5"},
      {{"--eps", "0"}, "--eps is 0"},
      {{"--clip", "-1"}, "--clip is -1"},
      {{"--weight-decay", "-1"}, "--weight-decay is -1"},
      {{"--steps", "0"}, "--steps is 0"},
      {{"--steps", "3000000000"}, "--steps is 3000000000; it needs 1 to 2000000000"},
      {{"--steps", "2000000000", "--global-batch", "16777216", "--seq", "16777216"},
       "more tokens than 64 bits count"},
      {{"--loss-scale", "dynamic"}, "--loss-scale is for fp16, but --dtype is bf16"},
      {{"--loss-scale", "-2", "--dtype", "fp16"}, "--loss-scale is -2"},
      {{"--valid-fraction", "1"}, "--valid-fraction is 1"},
      {{"--valid-fraction", "0.1", "--valid-data", "x"}, "both --valid-data and --valid-fraction"},
      {{"--eval-only", "--data", "x"}, "--eval-only has nothing to validate on"},
      {{"--threads", "0"}, "--threads is 0"},
      {{"--timeout", "0"}, "--timeout is 0"},
      {{"--timeout", "0.0004"}, "--timeout is 0.0004; it needs 0.001 seconds or more."},
      {{"--timeout", "-3"}, "--timeout is -3"},
      {{"--log-interval", "0"}, "--log-interval is 0"},
      {{"--trace", "5:3"}, "--trace got '5:3'"},
      {{"--trace-format", "xml"}, "--trace-format got 'xml' but needs one of json.gz, json"},
      {{"--trace-ranks", "3:1"}, "--trace-ranks got '3:1' but needs all, or ranks"},
      {{"--trace-ranks", "1:2:3"}, "--trace-ranks got '1:2:3'"},
      {{"--trace-ranks", "-1"}, "--trace-ranks got '-1'"},
      {{"--trace-ranks", "0,5"}, "--trace-ranks names rank 5, but there are 1 ranks"},
      {{"--trace-limit", "0"}, "--trace-limit is 0"},
      {{"--shuffle", "maybe"}, "--shuffle got 'maybe' but needs on or off"},
      {{"--lr-schedule", "step"}, "--lr-schedule got 'step' but needs one of cosine, linear, constant."},
      {{"--out", ""}, "--out has an empty value"},
      {{"--dp", "2"}, "--dp 2 but 1 rank / (tp 1 * pp 1) = 1. Start 2 ranks"},
      {{"--lr"}, "--lr"},
      {{"--lr", "--steps", "5"}, "--lr got '--steps' but needs a number"},
      {{"--ranks", "4"}, "--ranks only plans"},
  };
  for (const auto& [args, message] : cases) EXPECT_HAS(config_error(args), message);
}

// No clock overflows, and no wait becomes none.
TEST(Config, TimeoutsAreWholeMillisecondsWithinThreeYears) {
  using std::chrono::milliseconds;
  EXPECT_EQ(parse({"--timeout", "0.001"}).timeout(), milliseconds(1));
  EXPECT_EQ(parse({"--timeout", "0.0015"}).timeout(), milliseconds(2));
  EXPECT_EQ(parse({"--timeout", "120"}).timeout(), milliseconds(120'000));
  for (const char* huge : {"1e8", "1e10", "1e18", "1e300"})
    EXPECT_EQ(parse({"--timeout", huge}).timeout(), milliseconds(100'000'000'000));
}

TEST(Config, RanksAreThreadsOrProcesses) {
  EXPECT_HAS(config_error({"--tp", "4", "--local-ranks", "2"}, {2, 2, 2, kTime}),
             "--local-ranks 2 within 2 ranks of a launcher");
  EXPECT_HAS(config_error({"--local-ranks", "2"}, {2, 2, 2, kTime}), "--local-ranks 2 within 2 ranks");
  EXPECT_EQ(parse({"--local-ranks", "2"}, {1, 1, 2, kTime}).mesh.num_ranks(), 2);  // mpirun -np 1
}

// The other ranks go on where the first one found that it can, whatever they see themselves.
TEST(Config, ARankMayBeToldWhereToGoOn) {
  const ResumePoint point{.run_folder = "run",
                          .saves = "run/checkpoints",
                          .checkpoint = "run/checkpoints/step-000002",
                          .config = {{"lr", 0.5}},
                          .config_file = "run/config.json"};
  const char* const argv[] = {"train_llama", "--resume", "auto", "--out", "elsewhere"};
  const auto told = [&](const std::optional<ResumePoint>& by_first) {
    return std::get<Config>(
        parse_train_flags(5, argv, {2, 2, 2, kTime}, "the version", {}, [&](const auto&...) { return by_first; }));
  };
  const Config resumed = told(point);
  EXPECT_EQ(resumed.resume_folder, "run");
  EXPECT_EQ(resumed.resume_checkpoint, "run/checkpoints/step-000002");
  EXPECT_EQ(resumed.lr, 0.5);
  EXPECT_EQ(told(std::nullopt).resume_folder, "");
}

// Latin-1 in a path: config.json could not say it, so nothing begins. Of all flags with a text at once.
TEST(Config, NamesMustBeUtf8) {
  const std::string error =
      config_error({"--data", "caf\xe9/a", "--out", "runs/\xff", "--save", "\xc3", "--tokenizer", "a\xed\xa0\x80"});
  for (const char* word :
       {"--data is \"caf\xef\xbf\xbd/a\"", "--out is \"runs/", "--save is", "--tokenizer is", "UTF-8", "ln -s"})
    EXPECT_HAS(error, word);
  EXPECT_EQ(error.find("json.exception"), error.npos) << error;
  EXPECT_EQ(parse({"--data", "caf\xc3\xa9/\xf0\x9f\x98\x80"}).data[0], "caf\xc3\xa9/\xf0\x9f\x98\x80");
}

TEST(Config, RanksMustFitTheMesh) {
  const std::string error = config_error({"--tp", "2", "--pp", "8"}, {12, 12, 12, kTime});
  EXPECT_HAS(error, "[mesh] 12 ranks but tp*pp = 16. Start a multiple of 16 ranks, or lower --tp or --pp.");
  EXPECT_HAS(config_error({"--tp", "3"}, {3, 3, 3, kTime}), "4 heads cannot be split over tp 3");
  EXPECT_HAS(config_error({"--heads", "6", "--head-dim", "32", "--kv-heads", "2", "--tp", "3"}, {3, 3, 3, kTime}),
             "tp 3 neither divides 2 kv heads nor is a multiple");
  EXPECT_HAS(config_error({"--pp", "9"}, {9, 9, 9, kTime}), "8 layers are fewer than pp 9 * vpp 1");
  EXPECT_HAS(config_error({"--micro-batch", "32"}, {2, 2, 2, kTime}), "not a multiple of micro batch 32 * dp 2");
}

TEST(Config, IntegersMayBeWrittenAsAnyDecimalNumber) {
  EXPECT_EQ(parse({"--steps", "1e3", "--warmup", "2.5e1", "--seed", "+9007199254740993e0"}),
            parse({"--steps", "1000", "--warmup", "25", "--seed", "9007199254740993"}));
  EXPECT_EQ(parse({"--steps", "1000.0"}).steps, 1000);
  EXPECT_EQ(parse({"--trace", "1e1:2E1"}).trace, (TraceSteps{10, 20}));
  EXPECT_HAS(config_error({"--steps", "1.5"}), "--steps got '1.5' but needs an integer");
  EXPECT_HAS(config_error({"--steps", "1e-3"}), "--steps got '1e-3' but needs an integer");
  EXPECT_HAS(config_error({"--tp", "1e10"}), "--tp got '1e10' but needs an integer");
  const TemporaryFile file(R"({"steps": 1e3, "warmup": "2.5%"})");
  EXPECT_EQ(parse({"--config", file.path()}).steps, 1000);
  EXPECT_EQ(parse({"--config", file.path()}).warmup, 25);
}

TEST(Config, TraceOfSomeRanks) {
  EXPECT_EQ(parse({}).trace_format, TraceFormat::kJsonGz);
  EXPECT_EQ(parse({}).trace_limit.count, 256 << 20);
  EXPECT_EQ(parse({"--trace-limit", "1GiB"}).trace_limit.count, 1 << 30);
  EXPECT_TRUE(parse({}).trace_ranks.contains(99));
  const Config some = parse({"--trace-ranks", "0,3,8:15", "--dp", "16"}, {16, 16, 16, kTime});
  for (const int rank : {0, 3, 8, 12, 15}) EXPECT_TRUE(some.trace_ranks.contains(rank)) << rank;
  for (const int rank : {1, 7, 16}) EXPECT_FALSE(some.trace_ranks.contains(rank)) << rank;
  EXPECT_EQ(ValueText<RankList>::print(some.trace_ranks), "0,3,8:15");
}

TEST(Config, WarmupMayBeAPartOfTheSteps) {
  EXPECT_EQ(parse({"--warmup", "2%"}).warmup, 6);  // of tiny's 300
  EXPECT_EQ(parse({"--warmup", "0.5%", "--steps", "1000"}).warmup, 5);
  EXPECT_HAS(config_error({"--warmup", "101%"}), "--warmup got '101%'");
  EXPECT_TRUE(to_json(parse({"--warmup", "2%"}))["warmup"].is_number());
}

TEST(Config, NoValidationBatchesIsNoValidation) {
  EXPECT_EQ(parse({"--valid-batches", "0"}).valid_batches, 0);
  EXPECT_HAS(config_error({"--valid-batches", "0", "--eval-only"}), "--eval-only has nothing to validate on");
}

TEST(Config, ANameOnTheHubIsNoFolder) {
  for (const char* flag : {"--model", "--load-weights"}) {
    try {
      parse({flag, "meta-llama/Llama-2-7b"});
      ADD_FAILURE() << flag;
    } catch (const DataError& error) {
      EXPECT_HAS(std::string(error.what()), "Nothing is downloaded here");
      EXPECT_HAS(std::string(error.what()), "hf download meta-llama/Llama-2-7b --local-dir DIR");
      EXPECT_HAS(std::string(error.what()), "llama2-7b");
    }
  }
}

TEST(Config, DevicesAndTheirLibraries) {
  EXPECT_EQ(parse({"--device", "cuda", "--comm", "nccl"}).comm, CommKind::kNccl);
  EXPECT_EQ(parse({"--device", "cuda"}).comm, CommKind::kAuto);
  EXPECT_HAS(config_error({"--comm", "nccl"}), "--comm nccl is for --device cuda");
  EXPECT_HAS(config_error({"--attention", "cudnn"}), "--attention cudnn is for --device cuda");
  EXPECT_HAS(config_error({"--cuda-graphs", "on"}), "--cuda-graphs on is for --device cuda");
  EXPECT_HAS(config_error({"--cuda-graphs", "yes"}), "--cuda-graphs");
}

TEST(Config, BareSwitchesAndLists) {
  const Config c = parse({"--sequence-parallel", "--quiet", "--data", "a", "b", "--data", "c", "--print-memory"});
  EXPECT_TRUE(c.sequence_parallel);
  EXPECT_TRUE(c.quiet);
  EXPECT_TRUE(c.print_memory);
  EXPECT_EQ(c.data, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(parse({"--steps", "3", "--steps", "5"}).steps, 5);  // the last one stands
  EXPECT_EQ(parse({"--bos", "-1"}).model.bos, -1);
}

TEST(Config, HelpAndVersion) {
  const std::string help = std::get<TextRequest>(parse_line({"--help"})).text;
  for (const Flag& flag : flag_table()) {
    EXPECT_HAS(help, "--" + std::string(flag.name));
    EXPECT_HAS(help, std::string(flag.group) + ":");
  }
  EXPECT_EQ(std::get<TextRequest>(parse_line({"--version"})).text, "the version");
}

TEST(Config, FlagNamesAreUniqueAndValuesReadWhatTheyPrint) {
  std::set<std::string_view> names;
  const Config config = parse({"--model", "bench-m"});
  for (const Flag& flag : flag_table()) {
    EXPECT_TRUE(names.insert(flag.name).second) << flag.name;
    for (const std::string_view alias : flag.aliases) EXPECT_TRUE(names.insert(alias).second) << alias;
    Config other;
    if (const auto texts = flag.get(config)) {
      EXPECT_TRUE(flag.set(other, *texts)) << flag.name;
      EXPECT_EQ(flag.get(other), texts) << flag.name;
    }
  }
  for (const char* text : {"none", "selective", "group:4", "full", "auto"}) {
    Config c;
    ASSERT_TRUE(find_flag("recompute")->set(c, {text}));
    EXPECT_EQ(find_flag("recompute")->get(c)->front(), text);
  }
}

// `lr` of tests/data/hf_llama/*/training.safetensors: lr 3e-3, 4 warm-up steps, 20 steps, cosine to a tenth.
TEST(LearningRate, CurveOfTheFixtures) {
  const std::vector<double> expected = {0.00075,
                                        0.0015,
                                        0.0022500000000000003,
                                        0.003,
                                        0.003,
                                        0.002974060128544361,
                                        0.0028972373688902374,
                                        0.002772483976608436,
                                        0.002604594154601839,
                                        0.0024000198145764633,
                                        0.002166622633692871,
                                        0.0019133719347217734,
                                        0.0016500000000000002,
                                        0.001386628065278227,
                                        0.0011333773663071288,
                                        0.0008999801854235374,
                                        0.0006954058453981609,
                                        0.0005275160233915638,
                                        0.0004027626311097629,
                                        0.00032593987145563896};
  const Config c = parse({"--lr", "3e-3", "--warmup", "4", "--steps", "20"});
  for (size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(learning_rate(c, static_cast<int64_t>(i)), expected[i], 1e-17) << i;
}

TEST(LearningRate, EndsOfEachSchedule) {
  Config c = parse({"--lr", "1", "--min-lr", "0.2", "--warmup", "10", "--steps", "110", "--lr-schedule", "linear"});
  EXPECT_DOUBLE_EQ(learning_rate(c, 0), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(c, 9), 1);
  EXPECT_DOUBLE_EQ(learning_rate(c, 10), 1);
  EXPECT_DOUBLE_EQ(learning_rate(c, 60), 0.6);
  EXPECT_DOUBLE_EQ(learning_rate(c, 110), 0.2);
  EXPECT_DOUBLE_EQ(learning_rate(c, 500), 0.2);
  c.lr_schedule = LrSchedule::kConstant;
  EXPECT_DOUBLE_EQ(learning_rate(c, 100), 1);
  c.warmup = c.steps = 1;  // nothing left after warm-up: no division by zero
  c.lr_schedule = LrSchedule::kCosine;
  EXPECT_DOUBLE_EQ(learning_rate(c, 0), 1);
}

}  // namespace
}  // namespace trine
