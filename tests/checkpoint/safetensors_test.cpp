#include "checkpoint/safetensors.h"

#include <chrono>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>

#include "checkpoint/hugging_face.h"
#include "tests/data/scratch.h"

namespace trine {
namespace {

using testing::expect_error;
using testing::fixture;
using testing::read_file;
using testing::ScratchFolder;
using testing::write_file;

std::string file_with(const std::string& header, const std::string& data) {
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + header + data;
}

template <typename T>
SafetensorsEntry entry(const std::string& name, SafeType type, Shape shape, const std::vector<T>& values) {
  return {name, {type, std::move(shape), std::as_bytes(std::span(values))}};
}

TEST(Safetensors, ReadsWhatHuggingFaceWrote) {
  const SafetensorsFile file(fixture("hf_llama/mha/reference.safetensors"));
  EXPECT_EQ(file.tensor("ids").shape, Shape({2, 33}));
  EXPECT_EQ(file.tensor("ids").type, SafeType::kI32);
  EXPECT_EQ(file.tensor("logits").shape, Shape({2, 33, 97}));
  EXPECT_NEAR(to_vector<double>(file.tensor("loss")).at(0), 4.701039, 1e-6);  // the README's value
  // The loss again, from logits and labels: it holds only if every value is read right.
  const auto logits = to_vector<float>(file.tensor("logits"));
  const auto labels = to_vector<int64_t>(file.tensor("labels"));
  double sum = 0;
  int counted = 0;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] < 0) continue;
    double total = 0;
    for (size_t j = 0; j < 97; ++j) total += std::exp(double{logits[i * 97 + j]});
    sum += std::log(total) - logits[i * 97 + static_cast<size_t>(labels[i])];
    ++counted;
  }
  EXPECT_NEAR(sum / counted, 4.701039, 2e-6);
  const SafetensorsFile training(fixture("hf_llama/mha/training.safetensors"));
  EXPECT_EQ(training.tensor("lr").type, SafeType::kF64);
  EXPECT_DOUBLE_EQ(to_vector<double>(training.tensor("lr")).at(0), 3e-3 / 4);
}

TEST(Safetensors, WritesWhatItReads) {
  const ScratchFolder folder;
  const std::vector<float> f32 = {1.5f, -2, 0, 3e38f, 1, 2};
  const std::vector<int64_t> i64 = {-1, int64_t{1} << 40};
  const std::vector<BFloat16> bf16 = {to_bf16(0.5f), to_bf16(-3)};
  const std::vector<Float16> f16 = {to_f16(0.5f), to_f16(65504)};
  const std::vector<uint8_t> u8 = {0, 255, 3};
  write_safetensors(
      folder / "a",
      {entry("z", SafeType::kF32, {2, 3}, f32), entry("b", SafeType::kI64, {2}, i64),
       entry("c.bf16", SafeType::kBF16, {2, 1}, bf16), entry("h", SafeType::kF16, {2}, f16),
       entry("bytes", SafeType::kU8, {3}, u8), entry("scalar", SafeType::kF32, {}, std::vector<float>{7}),
       entry("empty", SafeType::kF32, {0, 5}, std::vector<float>{})},
      {{"format", "pt"}, {"by", "\"us\""}});
  const SafetensorsFile file(folder / "a");
  EXPECT_EQ(file.tensors().size(), 7u);
  EXPECT_EQ(file.tensor("z").shape, Shape({2, 3}));
  EXPECT_EQ(to_vector<float>(file.tensor("z")), f32);
  EXPECT_EQ(to_vector<int64_t>(file.tensor("b")), i64);
  EXPECT_EQ(to_vector<float>(file.tensor("c.bf16")), (std::vector<float>{0.5f, -3}));
  EXPECT_EQ(to_vector<double>(file.tensor("h")), (std::vector<double>{0.5, 65504}));
  EXPECT_EQ(to_vector<int32_t>(file.tensor("bytes")), (std::vector<int32_t>{0, 255, 3}));
  EXPECT_EQ(file.tensor("scalar").shape, Shape());
  EXPECT_EQ(to_vector<float>(file.tensor("empty")).size(), 0u);
  EXPECT_EQ(file.metadata().at("by"), "\"us\"");
  std::vector<float> middle(3);
  copy_values<float>(file.tensor("z"), 2, middle);
  EXPECT_EQ(middle, (std::vector<float>{0, 3e38f, 1}));
  EXPECT_THROW(copy_values<float>(file.tensor("z"), 4, middle), CheckError);
  expect_error(ExitCode::kData, {"no tensor y"}, [&] { file.tensor("y"); });
  uint64_t header_bytes;
  std::memcpy(&header_bytes, read_file(folder / "a").data(), 8);
  EXPECT_EQ(header_bytes % 8, 0u);
  EXPECT_EQ(folder.names(), std::vector<std::string>{"a"});
}

TEST(Safetensors, DataOfAnyAlignmentIsRead) {
  const ScratchFolder folder;
  const float value = 1.25f;
  const std::string data(reinterpret_cast<const char*>(&value), 4);
  for (int pad = 0; pad < 8; ++pad) {
    write_file(folder / "a", file_with(R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})" +
                                           std::string(static_cast<size_t>(pad), ' '),
                                       data));
    EXPECT_EQ(to_vector<double>(SafetensorsFile(folder / "a").tensor("x")), std::vector<double>{1.25});
  }
}

TEST(Safetensors, SaysWhatIsWrongWithAFile) {
  const ScratchFolder folder;
  const auto refuse = [&](const std::vector<std::string>& words, const std::string& contents) {
    write_file(folder / "bad.safetensors", contents);
    auto all = words;
    all.push_back("bad.safetensors");
    expect_error(ExitCode::kData, all, [&] { SafetensorsFile(folder / "bad.safetensors"); });
  };
  const auto one = [](const std::string& fields) { return "{\"x\":{" + fields + "}}"; };
  const std::string four(4, '\0'), eight(8, '\0');
  refuse({"0 bytes"}, "");
  refuse({"header"}, std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10));
  refuse({"header of 100"}, std::string("\x64\0\0\0\0\0\0\0{}", 10));
  refuse({"json"}, file_with("{\"x\":", ""));
  refuse({"no JSON object"}, file_with("[]", ""));
  refuse({"tensor x", "dtype, shape"}, file_with(R"({"x":5})", ""));
  refuse({"tensor x", "Q8"}, file_with(one(R"("dtype":"Q8","shape":[1],"data_offsets":[0,4])"), four));
  refuse({"shape of tensor x"}, file_with(one(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])"), four));
  refuse({"shape of tensor x"}, file_with(one(R"("dtype":"F32","shape":[1.5],"data_offsets":[0,4])"), four));
  refuse({"shape of tensor x"},
         file_with(one(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4])"), four));
  refuse({"data_offsets of tensor x"}, file_with(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])"), four));
  refuse({"data_offsets of tensor x"}, file_with(one(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])"), four));
  refuse({"tensor x holds 4 bytes", "[2]", "8"},
         file_with(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"), four));
  refuse({"8 bytes of data", "end at 4"},
         file_with(one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"), eight));
  refuse(
      {"x", "twice"},
      file_with(
          R"({"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
          four));
  const std::string a =
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":)";
  refuse({"tensor b begins at byte 0 of the data, need 4"}, file_with(a + "[0,4]}}", four));
  refuse({"tensor b begins at byte 5 of the data, need 4"}, file_with(a + "[5,9]}}", std::string(9, '\0')));
  refuse({"__metadata__"}, file_with(R"({"__metadata__":{"n":1}})", ""));
}

// What the reference library reads: metadata that are null (huggingface/safetensors#823), empty or not there.
TEST(Safetensors, MetadataMayBeNull) {
  const ScratchFolder folder;
  const std::string tensor = R"("x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  for (const char* metadata : {R"({"__metadata__":null,)", R"({"__metadata__":{},)", "{"}) {
    write_file(folder / "a", file_with(metadata + tensor, std::string("\0\0\x80\x3f", 4)));
    const SafetensorsFile file(folder / "a");
    EXPECT_EQ(to_vector<float>(file.tensor("x")), std::vector<float>{1}) << metadata;
    EXPECT_TRUE(file.metadata().empty());
  }
}

// Quadratic work, as it once was in reading and in writing, would take many minutes.
TEST(Safetensors, ManyTensorsTakeTimeInProportion) {
  const ScratchFolder folder;
  std::vector<SafetensorsEntry> entries;
  const std::vector<uint8_t> byte = {7};
  constexpr int kCount = 200'000;
  for (int i = 0; i < kCount; ++i)
    entries.push_back(entry("model.layers." + std::to_string(i) + ".weight", SafeType::kU8, {1}, byte));
  const auto start = std::chrono::steady_clock::now();
  write_safetensors(folder / "a", std::move(entries));
  const SafetensorsFile file(folder / "a");
  EXPECT_EQ(file.tensors().size(), size_t{kCount});
  EXPECT_EQ(to_vector<int32_t>(file.tensor("model.layers.123456.weight")), std::vector<int32_t>{7});
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

TEST(Safetensors, AFileThatIsCutWhileItIsOpenIsAnError) {
  const ScratchFolder folder;
  write_safetensors(folder / "a", {entry("x", SafeType::kF32, {100'000}, std::vector<float>(100'000, 2)),
                                   entry("y", SafeType::kBF16, {100'000}, std::vector<BFloat16>(100'000))});
  const SafetensorsFile file(folder / "a");
  EXPECT_EQ(to_vector<float>(file.tensor("x")), std::vector<float>(100'000, 2));
  EXPECT_EQ(to_vector<float>(file.tensor("y")), std::vector<float>(100'000, 0));
  std::filesystem::resize_file(folder / "a", 1000);
  for (const char* name : {"x", "y"})
    expect_error(ExitCode::kData, {"/a", "cut while it was read"}, [&] { to_vector<float>(file.tensor(name)); });
}

TEST(Safetensors, NestedHeadersAreRefused) {
  const ScratchFolder folder;
  write_file(folder / "a", file_with("{\"__metadata__\":" + std::string(70'000, '['), ""));
  expect_error(ExitCode::kData, {"/a", "128 levels"}, [&] { SafetensorsFile(folder / "a"); });
}

TEST(Safetensors, DamagedFilesNeverCrash) {
  const ScratchFolder folder;
  write_safetensors(folder / "good", {entry("a", SafeType::kF32, {2, 3}, std::vector<float>(6, 1)),
                                      entry("b", SafeType::kF16, {5}, std::vector<Float16>(5))});
  int accepted = 0;
  testing::for_each_damage(read_file(folder / "good"), [&](const std::string& bad) {
    write_file(folder / "bad", bad);
    try {
      const SafetensorsFile file(folder / "bad");
      for (const auto& [name, tensor] : file.tensors()) to_vector<float>(tensor);
      ++accepted;
    } catch (const DataError&) {
    }
  });
  EXPECT_GT(accepted, 0);
}

TEST(HuggingFaceWeights, ReadsOneFileAndShards) {
  for (const char* model : {"mha", "gqa_tied_llama3", "head_dim", "deep"}) {
    const auto folder = fixture("hf_llama/" + std::string(model));
    const HuggingFaceWeights weights(folder);
    const SafetensorsFile reference(folder / "reference.safetensors");
    size_t gradients = 0;  // the reference has a gradient for every parameter, of its shape
    for (const auto& [name, tensor] : reference.tensors()) {
      if (!name.starts_with("grad.")) continue;
      ++gradients;
      ASSERT_TRUE(weights.contains(name.substr(5))) << name;
      EXPECT_EQ(weights.shape(name.substr(5)), tensor.shape);
    }
    EXPECT_EQ(weights.names().size(), gradients) << model;
    EXPECT_FALSE(weights.contains("lm_head.weight") && std::string(model) == "gqa_tied_llama3");
  }
}

TEST(HuggingFaceWeights, ReadsASliceOfAnyFloatType) {
  const ScratchFolder folder;
  std::vector<BFloat16> bf16;
  std::vector<Float16> f16;
  std::vector<float> f32;
  for (int i = 0; i < 20; ++i)
    bf16.push_back(to_bf16(float(i))), f16.push_back(to_f16(float(i))), f32.push_back(float(i));
  write_safetensors(
      folder / "model.safetensors",
      {entry("bf16", SafeType::kBF16, {4, 5}, bf16), entry("f16", SafeType::kF16, {20}, f16),
       entry("f32", SafeType::kF32, {2, 10}, f32), entry("i32", SafeType::kI32, {1}, std::vector<int32_t>{1})});
  const HuggingFaceWeights weights(folder.path());
  for (const char* name : {"bf16", "f16", "f32"}) {
    std::vector<float> slice(6);
    weights.read(name, 7, slice);
    EXPECT_EQ(slice, (std::vector<float>{7, 8, 9, 10, 11, 12})) << name;
  }
  std::vector<float> out(1);
  expect_error(ExitCode::kData, {"i32", "I32"}, [&] { weights.read("i32", 0, out); });
  expect_error(ExitCode::kData, {"no tensor q"}, [&] { weights.read("q", 0, out); });
  EXPECT_THROW(weights.read("f32", 20, out), CheckError);
}

TEST(HuggingFaceWeights, SaysWhatIsWrongWithAFolder) {
  const ScratchFolder folder;
  const auto open = [&] { HuggingFaceWeights weights(folder.path()); };
  expect_error(ExitCode::kData, {"no such folder"}, [&] { HuggingFaceWeights(folder / "absent"); });
  expect_error(ExitCode::kData, {"no weights", "model.safetensors"}, open);
  write_file(folder / "pytorch_model.bin", "");
  expect_error(ExitCode::kData, {"pytorch_model.bin", "safe_serialization"}, open);
  std::filesystem::remove(folder / "pytorch_model.bin");
  for (const auto& [file, what] : {std::pair("consolidated.00.pth", "safe_serialization"),
                                   {"model.Q4_K_M.gguf", "with safetensors"},
                                   {"adapter_model.safetensors", "Merge the adapter"},
                                   {"llama.safetensors", "Rename"}}) {
    write_file(folder / file, "");
    expect_error(ExitCode::kData, {file, what}, open);
    std::filesystem::remove(folder / file);
  }
  const auto index = [&](const std::string& text) { write_file(folder / "model.safetensors.index.json", text); };
  index("{}");
  expect_error(ExitCode::kData, {"weight_map"}, open);
  index("{\"weight_map\":{\"w\":5}}");
  expect_error(ExitCode::kData, {"weight_map.w"}, open);
  index("{\"weight_map\":{\"w\":\"a.safetensors\"}}");
  expect_error(ExitCode::kData, {"a.safetensors", "no such file"}, open);
  write_safetensors(folder / "a.safetensors", {entry("v", SafeType::kF32, {1}, std::vector<float>{1})});
  expect_error(ExitCode::kData, {"w is not in a.safetensors"}, open);
  const std::string outside = (folder / "a.safetensors").string();
  for (const std::string& escape :
       {std::string("../a.safetensors"), outside, std::string("x/../../y"), std::string()}) {
    index("{\"weight_map\":{\"v\":\"" + escape + "\"}}");
    expect_error(ExitCode::kData, {"need a file in the same folder"}, open);
  }
}

TEST(HuggingFaceWeights, DamagedIndexesNeverCrash) {
  const ScratchFolder folder;
  std::filesystem::copy(fixture("hf_llama/gqa_tied_llama3"), folder.path(),
                        std::filesystem::copy_options::recursive);
  int accepted = 0;
  testing::for_each_damage(read_file(folder / "model.safetensors.index.json"), [&](const std::string& bad) {
    write_file(folder / "model.safetensors.index.json", bad);
    try {
      const HuggingFaceWeights weights(folder.path());
      ++accepted;
    } catch (const DataError&) {
    }
  });
  EXPECT_GT(accepted, 0);
}

}  // namespace
}  // namespace trine
