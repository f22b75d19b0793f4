// What the article says of training LLaMA-2 70B.
#include "analysis/article/rows.h"
#include "analysis/goodput.h"
#include "analysis/inference.h"
#include "analysis/link_time.h"
#include "analysis/training_size.h"

namespace trine {
namespace {

using C = const ArticleContext&;
constexpr double kTera = 1e12, kGiga = 1e9, kMega = 1e6;

double real(int64_t value) { return static_cast<double>(value); }
double parameters(C c) { return real(parameter_count(c.today.model)); }
double layer(C c) { return layer_parameters(c.today.model); }
double hidden(C c) { return real(c.today.model.hidden); }
double layers(C c) { return real(c.today.model.layers); }
// Of a microbatch.
double article_tokens(C c) { return c.article.batch * c.article.seq; }
double card_tp_limit(C c, const Card& card, double bytes_per_s) {
  return layer_tp_limit(layer(c), hidden(c), card.flops_per_s, bytes_per_s);
}
double article_limit(C c, const Card& card, double bytes_per_s) {
  return qkv_tp_limit(c.article.hidden, card.flops_per_s, bytes_per_s);
}
double hours_between(C c) {
  return hours_between_failures(c.article.failure_device_hours, c.article.cluster_devices);
}

std::vector<ArticleRow> size_rows() {
  return {
      {.id = "T01",
       .claim = "Training takes 6 FLOPs per parameter and token",
       .value = 6,
       .unit = "FLOP per parameter and token",
       .tolerance = "-",
       .formula_gives = 6,
       .verdict = Verdict::kRight,
       .recomputed = [](C) { return training_flops(1, 1); },
       .realistic = [](C c) { return 1 + attention_share(c.today.model, 4096); },
       .realistic_unit = "x of 6 N D",
       .why = "attention's own products come on top: 12 layers x hidden x seq per token"},
      {.id = "T02",
       .claim = "1.7 million A100 hours are 200 years of one card",
       .value = 200,
       .unit = "years",
       .tolerance = "5%",
       .verdict = Verdict::kRounded,
       .recomputed = [](C c) { return devices_for(c.article.a100_hours, c.article.days_of_a_year); },
       .realistic = [](C c) { return devices_for(c.today.a100_hours, c.article.days_of_a_year); },
       .why = "the LLaMA-2 paper says 1,720,320 hours"},
      {.id = "T03",
       .claim = "so a month takes 2,400 A100",
       .value = 2400,
       .unit = "cards",
       .tolerance = "2%",
       .verdict = Verdict::kRounded,
       .recomputed = [](C c) { return devices_for(c.article.a100_hours, c.article.days_of_a_month); },
       .realistic = [](C c) { return devices_for(c.today.a100_hours, c.article.days_of_a_month); },
       .why = "without failures, and at the {} of peak that the paper's hours are for 2 T tokens",
       .also = {[](C c) {
         return device_hours(training_flops(parameters(c), 2e12), c.today.a100.card.flops_per_s) /
                c.today.a100_hours;
       }}},
      {.id = "T05",
       .claim = "Adam keeps 12 bytes per parameter",
       .value = 12,
       .unit = "bytes per parameter",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C) { return optimizer_bytes(2); },
       .realistic = [](C) { return StateBytes{}.sum(); },
       .why = "master weight and two moments in f32; with the bf16 weight and an f32 gradient it is 18 in all"},
      {.id = "T06",
       .claim = "SGD with momentum keeps 8",
       .value = 8,
       .unit = "bytes per parameter",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C) { return optimizer_bytes(1); },
       .realistic = [](C) { return optimizer_bytes(1); },
       .why = "master weight and one moment in f32; gradients and the 16-bit weight come on top"},
      {.id = "T07",
       .claim = "With N pipeline stages the first keeps 2N - 1 microbatches' activations",
       .value = 159,
       .unit = "microbatches",
       .tolerance = "-",
       .formula_gives = 159,
       .verdict = Verdict::kWrongModel,
       .recomputed = [](C c) { return microbatches_in_flight(PipelineOrder::kLockStep, c.article.layers); },
       .realistic = [](C c) { return microbatches_in_flight(PipelineOrder::kOneForwardOneBackward, layers(c)); },
       .why =
           "2N - 1 if every tick runs a forward and a backward of each stage in lock step; 1F1B holds at most N, "
           "at its first stage"},
      {.id = "T08",
       .claim = "The weights take 140 GB",
       .value = 140,
       .unit = "GB",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return c.article.parameters * StateBytes{}.weights / kGiga; },
       .realistic = [](C c) { return parameters(c) * StateBytes{}.weights / kGiga; },
       .why = "LLaMA-2 70B has 68.98 billion parameters of 2 bytes"},
      {.id = "T09",
       .claim = "the gradients 140 GB",
       .value = 140,
       .unit = "GB",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return c.article.parameters * StateBytes{.gradients = 2}.gradients / kGiga; },
       .realistic = [](C c) { return parameters(c) * StateBytes{}.gradients / kGiga; },
       .why = "in bf16; accumulated in f32 over microbatches, as training does today, they take twice as much"},
      {.id = "T10",
       .claim = "Adam 840 GB",
       .value = 840,
       .unit = "GB",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return c.article.parameters * optimizer_bytes(2) / kGiga; },
       .realistic = [](C c) { return parameters(c) * optimizer_bytes(2) / kGiga; },
       .why = "12 bytes for each of 68.98 billion parameters"},
      {.id = "T11",
       .claim = "and activations of 8 sequences 730 GB, attention recomputed",
       .value = 730,
       .unit = "GB",
       .tolerance = "0.1%",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) {
             return gpt_activation_bytes(c.article.seq, c.article.batch, c.article.hidden, c.article.layers, 1) /
                    kGiga;
           },
       .realistic = [](C c) { return llama_activation_bytes(c.today.model, article_tokens(c)) / kGiga; },
       .why = "a formula for GPT; LLaMA's SwiGLU, fewer kv heads and fused attention come to the same by luck"},
      {.id = "T12",
       .claim = "1,850 GB in all",
       .value = 1850,
       .unit = "GB",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return c.printed("T08") + c.printed("T09") + c.printed("T10") + c.printed("T11"); },
       .realistic =
           [](C c) {
             return (parameters(c) * StateBytes{}.sum() +
                     gpt_activation_bytes(c.article.seq, c.article.batch, hidden(c), layers(c), 1)) /
                    kGiga;
           },
       .why = "the sum, with 68.98 billion parameters and gradients in f32"},
      {.id = "T13",
       .claim = "That is 24 cards of 80 GB",
       .value = 24,
       .unit = "cards",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return devices_to_hold(c.printed("T12") * kGiga, c.article.a100.memory_bytes); },
       .realistic =
           [](C c) {
             return devices_to_hold(c.printed("T12") * kGiga,
                                    c.today.a100.card.memory_bytes * c.today.usable_memory);
           },
       .why = "a card of 80 GB has 80 GiB, of which 94 % can be used; with f32 gradients it is {}",
       .also = {[](C c) {
         return devices_to_hold(c.realistic("T12") * kGiga, c.today.a100.card.memory_bytes * c.today.usable_memory);
       }}},
      {.id = "T14",
       .claim = "or 78 RTX 4090",
       .value = 78,
       .unit = "cards",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return devices_to_hold(c.printed("T12") * kGiga, c.article.rtx4090.memory_bytes); },
       .realistic =
           [](C c) {
             return devices_to_hold(c.printed("T12") * kGiga,
                                    c.today.rtx4090.card.memory_bytes * c.today.usable_memory);
           },
       .why = "a card of 24 GB has 24 GiB, of which 94 % can be used; with f32 gradients it is {}",
       .also = {[](C c) {
         return devices_to_hold(c.realistic("T12") * kGiga,
                                c.today.rtx4090.card.memory_bytes * c.today.usable_memory);
       }}},
  };
}

std::vector<ArticleRow> pipeline_rows() {
  return {
      {.id = "T15",
       .claim = "80 stages keep 160 times the activations of one microbatch",
       .value = 160,
       .unit = "x",
       .tolerance = "-",
       .formula_gives = 160,
       .verdict = Verdict::kWrongModel,
       .recomputed = [](C c) { return microbatches_in_flight(PipelineOrder::kLockStep, c.article.layers) + 1; },
       .realistic = [](C c) { return microbatches_in_flight(PipelineOrder::kOneForwardOneBackward, layers(c)); },
       .why = "1F1B keeps p microbatches at its first stage, not 2 p"},
      {.id = "T16",
       .claim = "Recomputing groups of 10 layers still leaves 16 times",
       .value = 16,
       .unit = "x",
       .tolerance = "-",
       .formula_gives = 16,
       .verdict = Verdict::kWrongModel,
       .recomputed = [](C c) { return c.printed("T15") / c.article.layers_per_group; },
       .realistic = [](C c) { return c.realistic("T15") / c.article.layers_per_group; },
       .why = "what is kept is each group's input and one group's activations; a stage of one layer has no group"},
      {.id = "T17",
       .claim = "Recomputing all runs 1 + 2 + ... + 80 = 3,240 layers",
       .value = 3240,
       .unit = "layers",
       .tolerance = "exact",
       .verdict = Verdict::kWrongModel,
       .recomputed = [](C c) { return recomputed_layers(RecomputeFrom::kModelInput, c.article.layers); },
       .realistic = [](C c) { return recomputed_layers(RecomputeFrom::kLayerInput, layers(c)); },
       .why =
           "nobody starts from the model's input for each layer: each layer keeps its input, and runs once more"},
      {.id = "T18",
       .claim = "which is 40 times a forward pass",
       .value = 40,
       .unit = "x",
       .tolerance = "2%",
       .verdict = Verdict::kWrongModel,
       .recomputed = [](C c) { return c.printed("T17") / c.article.layers; },
       .realistic = [](C c) { return recompute_factor(c.realistic("T17"), layers(c)); },
       .realistic_unit = "x of a step",
       .why =
           "a step is three passes, and full recomputation adds one; even the article's way would be {} of a step",
       .also = {[](C c) { return recompute_factor(c.recomputed("T17"), c.article.layers); }}},
      {.id = "T19",
       .claim = "A layer has about 1 billion parameters",
       .value = 1,
       .unit = "billion",
       .tolerance = "15%",
       .verdict = Verdict::kRounded,
       .recomputed = [](C c) { return c.article.parameters / c.article.layers / kGiga; },
       .realistic = [](C c) { return layer(c) / kGiga; },
       .why = "q and the output take 2 h h, keys and values 2 h kv, SwiGLU 3 h ffn: h 8,192, kv 1,024, ffn "
              "28,672"},
      {.id = "T20",
       .claim = "whose gradient is 4 GB in f32",
       .value = 4,
       .unit = "GB",
       .tolerance = "15%",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return c.printed("T19") * kF32Bytes; },
       .realistic = [](C c) { return layer(c) * kF32Bytes / kGiga; },
       .why = "0.8556 billion parameters of 4 bytes; in bf16 half of it"},
      {.id = "T21",
       .claim = "A microbatch of 8 takes 196 TFLOP in it",
       .value = 196,
       .unit = "TFLOP",
       .tolerance = "0.5%",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return training_flops(c.printed("T19") * kGiga, article_tokens(c)) / kTera; },
       .realistic = [](C c) { return training_flops(layer(c), article_tokens(c)) / kTera; },
       .why = "of 0.8556 billion parameters; the article writes Tflops, which is a rate, for an amount"},
      {.id = "T22",
       .claim = "An RTX 4090 needs 0.6 s for that",
       .value = 0.6,
       .unit = "s",
       .tolerance = "1%",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return c.recomputed("T21") * kTera / c.article.rtx4090.flops_per_s; },
       .realistic = [](C c) { return c.recomputed("T21") * kTera / c.today.rtx4090.card.flops_per_s; },
       .why = "the same 196.6 TFLOP with FP32 sums, at the data sheet's peak; kernels reach less of it"},
      {.id = "T23",
       .claim = "and PCIe 0.12 s for the gradient",
       .value = 0.12,
       .unit = "s",
       .tolerance = "5%",
       .verdict = Verdict::kRounded,
       .recomputed = [](C c) { return transfer_s(c.printed("T20") * kGiga, c.article.rtx4090.link_bytes_per_s); },
       .realistic = [](C c) { return c.today.rtx4090.all_reduce_s(8, c.printed("T20") * kGiga); },
       .realistic_unit = "s per all-reduce",
       .why = "one copy over the link at its data sheet's rate; today is an all-reduce over eight cards without "
              "peer-to-peer copies"},
      {.id = "T24",
       .claim = "out and back 0.24 s, less than the computation",
       .value = 0.24,
       .unit = "s",
       .tolerance = "5%",
       .verdict = Verdict::kRounded,
       .recomputed =
           [](C c) { return 2 * transfer_s(c.printed("T20") * kGiga, c.article.rtx4090.link_bytes_per_s); },
       .realistic =
           [](C c) {
             return transfer_s(ring_all_reduce_bytes(c.printed("T20") * kGiga, c.article.cluster_devices),
                               c.article.rtx4090.link_bytes_per_s);
           },
       .why = "a ring over 2,048 cards moves 2 (n - 1) / n of the bytes each way: the same factor of 2"},
      {.id = "T25",
       .claim = "With 80 microbatches a step computes for 48 s",
       .value = 48,
       .unit = "s",
       .tolerance = "1%",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return c.article.layers * c.recomputed("T22"); },
       .realistic = [](C c) { return c.article.layers * c.realistic("T22"); },
       .why = "so the gradient's transfer, once a step, is nothing beside it: {} of it",
       .also = {[](C c) { return c.recomputed("T24") / c.recomputed("T25"); }}},
      {.id = "T27",
       .claim = "To keep PCIe busy a card needs a 200 Gb/s NIC",
       .value = 1,
       .unit = "NICs per card",
       .tolerance = "30%",
       .verdict = Verdict::kRounded,
       .recomputed =
           [](C c) { return c.article.rtx4090.link_bytes_per_s / bytes_per_s_of_gbit(c.article.nic_gbit); },
       .realistic =
           [](C c) {
             return pcie_bytes_per_s(c.article.pcie4_gt_per_s, c.article.pcie_lanes) /
                    bytes_per_s_of_gbit(c.article.nic_gbit);
           },
       .why = "a direction of PCIe 4 x16 carries 31.5 GB/s, a NIC of 200 Gb/s 25 GB/s"},
      {.id = "T28",
       .claim = "2,048 cards make a global batch of 16,384 sequences",
       .value = 16384,
       .unit = "sequences",
       .tolerance = "-",
       .formula_gives = 16384,
       .verdict = Verdict::kWrongModel,
       .recomputed = [](C c) { return c.article.cluster_devices * c.article.batch; },
       .realistic = [](C c) { return c.printed("T28") * c.article.seq / kMega; },
       .realistic_unit = "million tokens",
       .why =
           "cards of one pipeline share their microbatches, and LLaMA-2 took 4 million tokens a step: so large a "
           "batch learns less from each token"},
  };
}

std::vector<ArticleRow> tensor_parallel_rows() {
  return {
      {.id = "T29",
       .claim = "Tensor parallelism over 8 leaves 10 pipeline stages",
       .value = 10,
       .unit = "stages",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return c.article.layers / c.article.tp_of_a_host; },
       .realistic = [](C c) { return layers(c) / c.article.tp_of_a_host; },
       .why = "a stage has the memory of eight cards, and so eight layers"},
      {.id = "T30",
       .claim = "A head has 8192 / 64 = 128 values",
       .value = 128,
       .unit = "values",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return c.article.hidden / c.article.heads; },
       .realistic = [](C c) { return real(c.today.model.head_dim); },
       .why = "the head size of LLaMA-2 70B as published"},
      {.id = "T31",
       .claim = "With one head per card there are 384 FLOPs for each byte",
       .value = 384,
       .unit = "FLOP/B",
       .tolerance = "exact",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return qkv_flops_per_byte(c.article.hidden, c.article.heads); },
       .realistic = [](C c) { return layer_flops_per_byte(layer(c), hidden(c), c.article.heads); },
       .realistic_unit = "FLOP/B at tp 64",
       .why = "it counts q, k, v against one reading of the input; a whole layer against its two all-reduces comes "
              "to "
              "about the same"},
      {.id = "T32",
       .claim = "so a card needs a link of 859 GB/s",
       .value = 859,
       .unit = "GB/s",
       .tolerance = "0.1%",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return c.article.rtx4090.flops_per_s / c.recomputed("T31") / kGiga; },
       .realistic = [](C c) { return c.today.rtx4090.card.flops_per_s / c.realistic("T31") / kGiga; },
       .why = "half the FLOPS, with FP32 sums, and T31's FLOPs for each byte of a whole layer"},
      {.id = "T33",
       .claim = "1.7 TB/s in both directions",
       .value = 1.7,
       .unit = "TB/s",
       .tolerance = "2%",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return 2 * c.recomputed("T32") * kGiga / kTera; },
       .realistic = [](C c) { return 2 * c.realistic("T32") * kGiga / kTera; },
       .why = "both directions of T32"},
      {.id = "T34",
       .claim = "An RTX 4090 needs 10,000 FLOPs for each byte on PCIe",
       .value = 10000,
       .unit = "FLOP/B",
       .tolerance = "4%",
       .verdict = Verdict::kRounded,
       .recomputed =
           [](C c) { return machine_balance(c.article.rtx4090.flops_per_s, c.article.rtx4090.link_bytes_per_s); },
       .realistic =
           [](C c) { return machine_balance(c.today.rtx4090.card.flops_per_s, c.today.rtx4090.bus_bytes_per_s()); },
       .why = "half the FLOPS, and less than half of the link: "
              "what an all-reduce keeps busy without peer-to-peer copies"},
      {.id = "T35",
       .claim = "so at most 2.4 RTX 4090 share a layer",
       .value = 2.4,
       .unit = "cards",
       .tolerance = "2%",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return article_limit(c, c.article.rtx4090, c.article.rtx4090.link_bytes_per_s); },
       .realistic = [](C c) { return card_tp_limit(c, c.article.rtx4090, c.article.rtx4090.link_bytes_per_s); },
       .why = "its rates, but a whole layer against all its all-reduces; with FP32 sums and the measured link: {}",
       .also = {[](C c) { return card_tp_limit(c, c.today.rtx4090.card, c.today.rtx4090.bus_bytes_per_s()); }}},
      {.id = "T36",
       .claim = "An H100 needs 4,400 FLOPs for each byte",
       .value = 4400,
       .unit = "FLOP/B",
       .tolerance = "0.1%",
       .verdict = Verdict::kRight,
       .recomputed =
           [](C c) { return machine_balance(c.article.h100.flops_per_s, c.article.h100.link_bytes_per_s); },
       .realistic =
           [](C c) { return machine_balance(c.today.h100.card.flops_per_s, c.today.h100.card.link_bytes_per_s); },
       .why = "with dense FLOPS half of it, over the same 450 GB/s a direction"},
      {.id = "T37",
       .claim = "so at most 5.5 H100 share a layer",
       .value = 5.5,
       .unit = "cards",
       .tolerance = "2%",
       .verdict = Verdict::kRounded,
       .recomputed = [](C c) { return article_limit(c, c.article.h100, c.article.h100.link_bytes_per_s); },
       .realistic = [](C c) { return card_tp_limit(c, c.article.h100, c.article.h100.link_bytes_per_s); },
       .why = "its rates, a whole layer; with dense FLOPS {}: tp 8 is fine, as everyone runs it",
       .also = {[](C c) { return card_tp_limit(c, c.today.h100.card, c.today.h100.card.link_bytes_per_s); }}},
      {.id = "T38",
       .claim = "on an H800 2.4",
       .value = 2.4,
       .unit = "cards",
       .tolerance = "2%",
       .verdict = Verdict::kRounded,
       .recomputed = [](C c) { return article_limit(c, c.article.h100, c.article.h800_link_bytes_per_s); },
       .realistic = [](C c) { return card_tp_limit(c, c.article.h100, c.article.h800_link_bytes_per_s); },
       .why = "the article's rates, a whole layer, 200 GB/s a direction; with dense FLOPS {}",
       .also = {[](C c) { return card_tp_limit(c, c.today.h800.card, c.today.h800.card.link_bytes_per_s); }}},
      {.id = "T39",
       .claim = "on an H100 over PCIe 5 0.8",
       .value = 0.8,
       .unit = "cards",
       .tolerance = "2%",
       .verdict = Verdict::kRight,
       .recomputed = [](C c) { return article_limit(c, c.article.h100, c.article.pcie5_bytes_per_s); },
       .realistic = [](C c) { return card_tp_limit(c, c.article.h100, c.article.pcie5_bytes_per_s); },
       .why = "the article's rates, a whole layer; the PCIe card's own dense FLOPS and link give {}",
       .also = {[](C c) {
         return card_tp_limit(c, c.today.h100_pcie.card, c.today.h100_pcie.card.link_bytes_per_s);
       }}},
      {.id = "T41",
       .claim = "A product of M x N and N x K takes M N K operations (3, 5, 7)",
       .value = 105,
       .unit = "FLOP",
       .tolerance = "-",
       .formula_gives = 210,
       .verdict = Verdict::kSlip,
       .recomputed =
           [](C c) { return product_flops(c.article.example_m, c.article.example_k, c.article.example_n); },
       .realistic =
           [](C c) { return product_flops(c.article.example_m, c.article.example_k, c.article.example_n); },
       .why = "a multiplication and an addition each: 2 M N K"},
      {.id = "T42",
       .claim = "2,048 cards that fail once a month fail every 20 minutes",
       .value = 20,
       .unit = "minutes",
       .tolerance = "6%",
       .verdict = Verdict::kRounded,
       .recomputed = [](C c) { return hours_between(c) * 60; },
       .realistic =
           [](C c) {
             return hours_between_failures(c.today.llama3_failure_device_hours, c.article.cluster_devices);
           },
       .realistic_unit = "hours",
       .why = "the assumption is {} times as bad as what Llama 3's 16,384 H100 had",
       .also = {[](C c) { return c.today.llama3_failure_device_hours / c.article.failure_device_hours; }}},
      {.id = "T43",
       .claim = "10 minutes of recovery then leave half of the time",
       .value = 0.5,
       .unit = "useful part",
       .tolerance = "25%",
       .verdict = Verdict::kRounded,
       .recomputed =
           [](C c) {
             return recovery_only_goodput(
                 {.between_failures = hours_between(c) * 60, .recovery = c.article.recovery_min});
           },
       .realistic =
           [](C c) {
             return best_interval({.between_failures = hours_between(c) * 60,
                                   .recovery = c.today.recovery_min,
                                   .checkpoint = c.today.checkpoint_min})
                 .goodput;
           },
       .why = "lost work and checkpoints come on top; with Llama 3's rate {} are useful",
       .also = {[](C c) {
         return best_interval({.between_failures = c.realistic("T42") * 60,
                               .recovery = c.today.recovery_min,
                               .checkpoint = c.today.checkpoint_min})
             .goodput;
       }}},
  };
}

}  // namespace

std::span<const ArticleRow> training_rows() {
  static const std::vector<ArticleRow> kRows = [] {
    std::vector<ArticleRow> rows = size_rows();
    for (const auto& more : {pipeline_rows(), tensor_parallel_rows()})
      rows.insert(rows.end(), more.begin(), more.end());
    return rows;
  }();
  return kRows;
}

}  // namespace trine
