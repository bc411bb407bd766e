// From int32 sums of an INT8 product to floats: y = (float(sum - take_off) * a_scale) * b_scale + bias, each
// operation rounded, so the same bits on every CPU and GPU. A sum past 2^24 is rounded once, half to even.
#pragma once
#include <cstdint>

namespace floe {

struct Int8Finish {
  const int32_t* sums = nullptr;      // [rows, kInt8Columns]
  const int32_t* take_off = nullptr;  // [rows]; the subtraction wraps
  const float* a_scale = nullptr;     // a_step 1: [rows]; 0: one number
  int64_t a_step = 1;
  const float* b_scale = nullptr;  // b_each: [columns]; else one number
  bool b_each = true;
  const float* bias = nullptr;  // [columns], or none
  float* c = nullptr;
  int64_t c_row = 0;
  int64_t rows = 0, columns = 0;
};
void int8_finish(const Int8Finish& f);

}  // namespace floe
