/* The answer of a model that hands back the first numbers of each row; see predict.c. */
#ifndef PREDICT_H
#define PREDICT_H

#include <stddef.h>
#include <stdint.h>

struct bytes {
  const uint8_t *data;
  size_t size;
};

/* Bytes that grow. */
struct buffer {
  uint8_t *data;
  size_t size, room;
};

/* Put bytes behind those of a buffer; ends the program when there is no memory. */
void append(struct buffer *to, const void *data, size_t size);

/* Append the PredictResponse to a PredictRequest of one input, a matrix in tensor_content: the first `columns` numbers of
 * each row, or all there are; 0 for all. Where the request names no version, it is answered as of `version`. Return the
 * rows, -1 when the request is none of that kind. */
int64_t predict(struct bytes request, int64_t columns, int64_t version, struct buffer *answer);

#endif
