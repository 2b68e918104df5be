// The ops on CUDA tensors: the checks and outputs of the CPU side, launched on torch's current
// stream.
#include "common/cuda_stream.h"
#include "execute/execute_check.h"
#include "execute/execute_cuda.h"

namespace pyvqa {
namespace {

Tensor scratch_for(const Tensor& table, int64_t rows, int64_t width) {
  return torch::stable::new_empty(table, {execute_scratch_words(table.size(0), rows, width)},
                                  ScalarType::Long);
}

void run(const ExecuteTensors& t, const Results& results, int64_t width) {
  const CudaScope scope(t.kind);
  const Job job = t.job(t.programs.table.const_data_ptr<int64_t>());
  const Tensor scratch = scratch_for(t.programs.table, job.rows, width);
  const ExecuteCall call{&job, &results, static_cast<int>(width), 0, t.programs.id_bytes};
  check_launch(launch_execute(call, scratch.mutable_data_ptr<int64_t>(), scope.stream()),
               "execute");
}

std::tuple<Tensor, Tensor, Tensor, Tensor> execute_cuda(const Tensor& programs, const Tensor& table,
                                                        const Tensor& scene_index,
                                                        const Tensor& words, const Tensor& offsets,
                                                        int64_t width, const Tensor& string_answers,
                                                        const Tensor& integer_answers,
                                                        bool with_sets) {
  const ExecuteTensors t(programs, table, scene_index, words, offsets, width);
  const AnswerTensors answers(programs, string_answers, integer_answers, width, with_sets);
  Results out = t.results();
  answers.add_to(out);
  run(t, out, width);
  return {t.kind, t.value, answers.answer, answers.sets};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> execute_trace_cuda(
    const Tensor& programs, const Tensor& table, const Tensor& scene_index, const Tensor& words,
    const Tensor& offsets, int64_t width) {
  const ExecuteTensors t(programs, table, scene_index, words, offsets, width);
  const TraceTensors trace(programs, width);
  Results out = t.results();
  trace.add_to(out);
  run(t, out, width);
  return {t.kind, t.value, trace.kinds, trace.values, trace.sets};
}

Tensor verify_cuda(const Tensor& programs, const Tensor& table) {
  const Programs p = check_programs(programs, table);
  const CudaScope scope(programs);
  const Tensor status = torch::stable::new_empty(programs, {programs.size(0)}, ScalarType::Char);
  const Tensor scratch = scratch_for(p.table, p.programs.size(0), 1);
  const Job job = verify_job(p, p.table.const_data_ptr<int64_t>());
  const ExecuteCall call{&job, nullptr, 1, 0, p.id_bytes};
  check_launch(launch_verify(call, status.mutable_data_ptr<int8_t>(),
                             scratch.mutable_data_ptr<int64_t>(), scope.stream()),
               "verify");
  return status;
}

}  // namespace
}  // namespace pyvqa

STABLE_TORCH_LIBRARY_IMPL(pyvqa, CUDA, m) {
  m.impl("execute", TORCH_BOX(&pyvqa::execute_cuda));
  m.impl("execute_trace", TORCH_BOX(&pyvqa::execute_trace_cuda));
  m.impl("verify", TORCH_BOX(&pyvqa::verify_cuda));
}
