// Trine against Hugging Face transformers: logits, every gradient and a 20-step AdamW curve of four small models.
// tests/data/hf_llama/README.md says how the numbers were made (PyTorch, f32, CPU).
#include <cmath>
#include <gtest/gtest.h>
#include <numeric>

#include "checkpoint/safetensors.h"
#include "plan/learning_rate.h"
#include "plan/plan.h"
#include "runtime/device/devices.h"
#include "runtime/state/parameters.h"
#include "runtime/step/executor.h"
#include "tests/runtime/cuda_device.h"
#include "tests/test_data.h"

namespace trine {
namespace {

struct Tolerance {
  double logits, gradient, loss, first_norm, curve_loss, curve_norm, final_weights;
};
constexpr Tolerance kF32{1e-5, 1e-5, 1e-6, 1e-5, 1e-5, 1e-4, 3e-5};
constexpr Tolerance kBF16{2e-2, 5e-2, 2e-3, 5e-3, 2e-3, 0, 0};
constexpr Tolerance kF16{5e-3, 2e-2, 1e-3, 2e-3, 2e-3, 0, 0};

Tolerance tolerance(DType dtype) { return dtype == DType::kF32 ? kF32 : dtype == DType::kBF16 ? kBF16 : kF16; }

double relative_error(const std::vector<float>& got, const std::vector<float>& want) {
  EXPECT_EQ(got.size(), want.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    difference += (double(got[i]) - double(want[i])) * (double(got[i]) - double(want[i]));
    norm += double(want[i]) * double(want[i]);
  }
  return std::sqrt(difference / std::max(norm, 1e-30));
}

std::vector<float> read_floats(const Backend& backend, const TensorView& view) {
  const auto elements = static_cast<size_t>((view.rows - 1) * view.row_stride + view.columns);
  std::vector<std::byte> bytes(elements * size_bytes(view.dtype));
  backend.read(view.data, bytes);
  std::vector<float> values;
  const auto append = [&]<typename T>(T) {
    const T* const data = reinterpret_cast<const T*>(bytes.data());
    for (int64_t r = 0; r < view.rows; ++r)
      for (int64_t c = 0; c < view.columns; ++c) values.push_back(to_float(data[r * view.row_stride + c]));
  };
  if (view.dtype == DType::kF32)
    append(float{});
  else if (view.dtype == DType::kBF16)
    append(BFloat16{});
  else
    append(Float16{});
  return values;
}

struct Case {
  std::string model;
  DType dtype;
  int64_t micro_batch;  // sequences; 0 = the whole batch
  DeviceKind device = DeviceKind::kCpu;
};

std::string case_name(const testing::TestParamInfo<Case>& info) {
  return info.param.model + "_" + std::string(name(info.param.dtype)) +
         (info.param.micro_batch == 0 ? "" : "_micro" + std::to_string(info.param.micro_batch));
}

class HuggingFaceParity : public testing::TestWithParam<Case> {
 protected:
  HuggingFaceParity()
      : folder_(test_data() + "/hf_llama/" + GetParam().model),
        reference_(folder_ + "/reference.safetensors"),
        training_(folder_ + "/training.safetensors") {
    config_.model = read_hugging_face_config(folder_);
    const Shape ids = reference_.tensor("ids").shape;
    config_.global_batch = ids[0];
    config_.seq = ids[1];
    config_.micro_batch = GetParam().micro_batch == 0 ? ids[0] : GetParam().micro_batch;
    config_.dtype = GetParam().dtype;
    config_.steps = 20, config_.warmup = 4, config_.lr = 3e-3, config_.min_lr = 3e-4;
    config_.threads = 2;
    config_.device = GetParam().device;
  }
  void SetUp() override {
    if (GetParam().device == DeviceKind::kCuda && !has_gpu()) GTEST_SKIP() << "no GPU";
    backend_ = make_backend(GetParam().device, config_.threads, nullptr);
    plan_ = build_plan(config_);
    executor_ = std::make_unique<Executor>(plan_.stages[0], config_, Coordinate{}, *backend_, trace_);
    set_parameters(*executor_, hugging_face_values(folder_, plan_), 1);
  }

  HostStep batch(const std::vector<int32_t>& ids, const std::vector<int32_t>& labels) const {
    return {.ids = ids, .labels = labels, .lr = 0, .loss_scale = 1};
  }

  const std::string folder_;
  const SafetensorsFile reference_, training_;
  Config config_;
  TraceRecorder trace_{1024};
  std::unique_ptr<Backend> backend_;
  Plan plan_;
  std::unique_ptr<Executor> executor_;
};

TEST_P(HuggingFaceParity, LogitsAndLoss) {
  const auto ids = to_vector<int32_t>(reference_.tensor("ids")),
             labels = to_vector<int32_t>(reference_.tensor("labels"));
  const StepResult result = executor_->evaluate(batch(ids, labels), 1);
  EXPECT_NEAR(result.loss / to_vector<double>(reference_.tensor("loss"))[0], 1, tolerance(config_.dtype).loss);
  // The frame holds the logits of the last microbatch.
  const auto logits = read_floats(*backend_, executor_->value_view(plan_.stages[0].logits, 0));
  auto expected = to_vector<float>(reference_.tensor("logits"));
  expected.erase(expected.begin(), expected.end() - static_cast<ptrdiff_t>(logits.size()));
  EXPECT_LT(relative_error(logits, expected), tolerance(config_.dtype).logits);
}

TEST_P(HuggingFaceParity, EveryGradient) {
  const auto ids = to_vector<int32_t>(reference_.tensor("ids")),
             labels = to_vector<int32_t>(reference_.tensor("labels"));
  executor_->train_step(batch(ids, labels), 1);
  int compared = 0;
  for (const auto& [name, tensor] : reference_.tensors()) {
    if (!name.starts_with("grad.")) continue;
    const auto got = read_floats(*backend_, executor_->view(name));
    EXPECT_LT(relative_error(got, to_vector<float>(tensor)), tolerance(config_.dtype).gradient) << name;
    ++compared;
  }
  EXPECT_EQ(compared, static_cast<int>(9 * config_.model.layers + (config_.model.tie_embeddings ? 2 : 3)));
}

TEST_P(HuggingFaceParity, TrainingCurve) {
  const auto batches = to_vector<int32_t>(training_.tensor("batches"));
  const auto losses = to_vector<double>(training_.tensor("loss")),
             norms = to_vector<double>(training_.tensor("grad_norm"));
  const Tolerance limit = tolerance(config_.dtype);
  const size_t rows = static_cast<size_t>(config_.global_batch), seq = static_cast<size_t>(config_.seq);
  for (size_t step = 0; step < losses.size(); ++step) {
    std::vector<int32_t> ids, labels;
    for (size_t row = 0; row < rows; ++row) {
      const int32_t* sample = batches.data() + (step * rows + row) * (seq + 1);
      ids.insert(ids.end(), sample, sample + seq);
      labels.insert(labels.end(), sample + 1, sample + seq + 1);
    }
    HostStep host = batch(ids, labels);
    host.lr = static_cast<float>(learning_rate(config_, static_cast<int64_t>(step)));
    const StepResult result = executor_->train_step(host, static_cast<int>(step) + 1);
    EXPECT_TRUE(result.applied);
    EXPECT_NEAR(result.loss / losses[step], 1, limit.curve_loss) << "step " << step;
    const double norm_limit = step == 0 ? limit.first_norm : limit.curve_norm;
    if (norm_limit > 0) {
      EXPECT_NEAR(result.grad_norm / norms[step], 1, norm_limit) << "step " << step;
    }
  }
  if (limit.final_weights == 0) return;
  for (const auto& [name, tensor] : training_.tensors())
    if (name.starts_with("final.")) {
      EXPECT_LT(relative_error(read_master(*executor_, name.substr(6)), to_vector<float>(tensor)),
                limit.final_weights)
          << name;
    }
}

std::vector<Case> cases() {
  std::vector<Case> list;
  for (const char* model : {"mha", "gqa_tied_llama3", "head_dim", "deep"})
    for (DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) list.push_back({model, dtype, 0});
  list.push_back({"deep", DType::kF32, 2});  // gradients accumulated over four microbatches
  list.push_back({"gqa_tied_llama3", DType::kF32, 1});
  return list;
}

INSTANTIATE_TEST_SUITE_P(Models, HuggingFaceParity, testing::ValuesIn(cases()), case_name);

std::vector<Case> cuda_cases() {
  std::vector<Case> list = cases();
  for (Case& one : list) one.device = DeviceKind::kCuda;
  return list;
}

INSTANTIATE_TEST_SUITE_P(Cuda, HuggingFaceParity, testing::ValuesIn(cuda_cases()), case_name);

}  // namespace
}  // namespace trine
