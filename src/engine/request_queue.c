#include "engine/request_queue.h"

void kl_queue_append(struct kl_request_queue *queue, struct kl_request *request)
{
    request->next = NULL;
    if (queue->head == NULL)
        queue->head = request;
    else
        queue->tail->next = request;
    queue->tail = request;
}

void kl_queue_prepend(struct kl_request_queue *queue, struct kl_request *request)
{
    request->next = queue->head;
    if (queue->head == NULL)
        queue->tail = request;
    queue->head = request;
}

struct kl_request *kl_queue_take(struct kl_request_queue *queue)
{
    struct kl_request *first = queue->head;
    if (first != NULL)
        queue->head = first->next;
    return first;
}
