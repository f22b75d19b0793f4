// Every number that a text says stands in the JSON beside it.
#include "tests/analysis/said_numbers.h"

#include <gmock/gmock.h>

#include "analysis/failures.h"
#include "analysis/inference_report.h"
#include "analysis/planner/planner_report.h"
#include "models/presets.h"
#include "plan/config/flags.h"

namespace trine {
namespace {

using ::testing::IsEmpty;
using testing::not_held;

TEST(SaidNumbers, OneThatIsMadeUpIsFound) {
  const nlohmann::json json = {{"step_s", 1.2345}, {"share", 0.5}, {"words", "tp 8"}};
  EXPECT_THAT(not_held("1.23 s, 50.0 %, tp 8", json, {}), IsEmpty());
  EXPECT_THAT(not_held("1.24 s, 51 %, 17 hosts", json, {}), ::testing::ElementsAre("1.24", "51", "17"));
}

TEST(SaidNumbers, OfAPlan) {
  const std::vector<const char*> argv = {"train_llama",    "--dry-run", "--ranks",   "1",        "--device",
                                         "cuda",           "--model",   "llama2-7b", "--layers", "4",
                                         "--global-batch", "16",        "--seq",     "1024"};
  PlanQuestion q{.base = std::get<Config>(parse_train_flags(static_cast<int>(argv.size()), argv.data(), {}, "")),
                 .devices = 4,
                 .profile = load_profile("rtx4090")};
  q.fixed.micro_batch = 1;
  const PlanAnswer answer = plan(q);
  for (const RunWish& wish :
       {RunWish{}, RunWish{.tokens = 2e12},
        RunWish{.tokens = 2e12, .failure_device_hours = 720, .recovery_min = 10},
        RunWish{.tokens = 3e9, .usd_per_device_hour = 0.35},
        RunWish{.tokens = 1e9, .failure_device_hours = 0.001, .recovery_min = 10, .checkpoint_min = 1}}) {
    const auto json = planner_json(q, answer, wish, 3);
    EXPECT_THAT(not_held(planner_text(json), json, {"1", "3"}), IsEmpty()) << planner_text(json);
  }
}

TEST(SaidNumbers, OfFailures) {
  RunInputs run{.devices = 2048,
                .compute_days = 60,
                .host = {.devices = 8, .device_usd = 1600, .device_w = 450, .chassis_usd = 8000, .chassis_w = 800}};
  run.disk = {.bytes = 8.3e11, .hosts = 256};
  const auto json = failures_json(run, {failure_rates().begin(), failure_rates().end()});
  EXPECT_THAT(not_held(failures_text(json), json, {"3"}), IsEmpty()) << failures_text(json);
}

TEST(SaidNumbers, OfInference) {
  const LlamaConfig model = find_preset("llama2-70b")->model;
  for (const char* cluster : {"rtx4090", "h100-sxm"}) {
    const Machine machine(load_profile(cluster));
    const auto json = inference_json("llama2-70b", machine,
                                     inference_on(machine, model, default_split(machine, model, 8), 4096, {}, {}));
    EXPECT_THAT(not_held(inference_text(json), json, {"3", "16"}), IsEmpty()) << inference_text(json);
  }
}

}  // namespace
}  // namespace trine
