// What the rows of the article are computed from: its own inputs, and today's in their place.
#pragma once

#include "analysis/machine.h"
#include "models/llama_config.h"

namespace trine {

// What the article reckons with. The cards are the profiles article-4090, article-a100 and article-h100; the rest
// stands in its text.
struct ArticleInputs {
  Card rtx4090, a100, h100;
  double rtx4090_tf32 = 83e12, a100_tf32 = 156e12;
  double h800_link_bytes_per_s = 200e9, pcie5_bytes_per_s = 64e9;
  double nvlink4_links = 18, nvlink4_link_gb_per_s = 50;  // both directions
  double pcie_lanes = 16, pcie4_gt_per_s = 16, pcie5_gt_per_s = 32;

  // LLaMA-2 70B, all heads with keys and values of their own, and its training.
  double parameters = 70e9, layers = 80, hidden = 8192, heads = 64, seq = 4096, batch = 8;
  double a100_hours = 1.7e6, days_of_a_year = 365.25, days_of_a_month = 30;
  double tp_of_a_host = 8, layers_per_group = 10;
  double nic_gbit = 200, nics_per_nic_slot = 1;
  double cluster_devices = 2048, failure_device_hours = 720, recovery_min = 10;
  double example_m = 3, example_k = 5, example_n = 7;  // of a product, to see what it counts

  // Inference on eight cards.
  double devices = 8, inference_batch = 8, prompt_context = 128, large_batch = 1024, kv_batch = 4;
  double row_bytes_rounded = 16e3;  // of a token's 8192 activations in 16 bits
  double row_bytes = 16 * 1024;
  double slow_gbit = 1, desktop_gbit = 10, fast_gbit = 200, uplink_gbit = 25;
  double hop_10g_s = 5e-3;      // that it allows for a hop at 10 Gb/s
  double token_target_s = 0.2;  // 5 tokens per second
  double small_all_reduce_s = 30e-6;
  double uplink_hop_s = 8e-3;  // between two hosts, as it states it

  // Money.
  double host_usd = 40000, host_w = 2000, card_w = 400;  // 8 x RTX 4090
  double h100_host_usd = 300000, h100_host_w = 10000;    // 8 x H100
  double h100_usd = 30000;                               // a card, where it compares cards
  double energy_usd_per_hour_rounded = 0.5, rtx4090_host_w = 5000;
  double gpt35_tokens_per_usd = 0.5e6;
  double nic_10g_usd = 150, nic_25g_usd = 300, nic_200g_usd = 1000, desktop_usd = 700,
         host_without_cards_usd = 3000;
  double switch_10g_usd = 750, switch_200g_usd = 4000;
  double wafer_usd = 15000, dies_per_wafer = 50, packaging_usd = 300, hbm_gb = 80, hbm_usd_per_gb = 15,
         board_usd = 300;
  double ada_die_usd = 250, gddr_usd = 240, ada_packaging_usd = 100, ada_rest_usd = 300;
  double h100_sold = 500000, h100_list_usd = 40000;
  double speed_ratio_of_cards = 2, payback_months = 7;
};

// The same of today: cards by their data sheets, links as they were measured.
struct TodayInputs {
  Machine rtx4090, a100, h100, h800, h100_pcie;
  double rtx4090_tf32 = 82.6e12, a100_tf32 = 156e12, h100_tf32 = 494.7e12;  // dense, of the data sheets
  double usable_memory = 0.94;  // of a card: the rest is the driver's, the libraries' and holes
  LlamaConfig model;            // llama2-70b
  double a100_hours = 1720320;
  double rtx3090_nvlink_bytes_per_s = 4 * 14.0625e9;  // one direction
  double gh200_flops_per_s = 989.4e12, gh200_hbm_gb = 96, gh200_cpu_gb = 480, gh200_superchips = 256;
  // Copies from the host, measured: PCIe 5 (H100) and 4 (RTX 4090).
  double pcie5_copy_bytes_per_s = 55.4e9, pcie4_copy_bytes_per_s = 25.8e9;
  // Lambda's benchmark, BERT-large in fp16, samples/s, and its prices of systems per card.
  double bert_h100 = 311, bert_h100_pcie_over_4090 = 2.19, bert_a100 = 152, bert_4090 = 93;
  double system_h100_usd = 36718.75, system_4090_usd = 2125;
  double network_latency_s = 0;  // of a message between two hosts
  double llama3_failure_device_hours = 0;
  double recovery_min = 10, checkpoint_min = 1;
};

ArticleInputs article_inputs();  // from the profiles article-4090, article-a100, article-h100
TodayInputs today_inputs();      // from rtx4090, a100-80-sxm, h100-sxm, h800-sxm, h100-pcie

}  // namespace trine
