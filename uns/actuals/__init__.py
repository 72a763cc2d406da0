"""What a job did, from what was recorded: quantities from counters, times from states, quality, lots.

    record log ─▶ JobBook.receive_batch ─▶ which jobs there are, where they ran, which changed      book
    JobView + samples ─▶ job_actuals ─▶ JobActuals ─▶ job_response ─▶ JobResponse                  totals, response

Totals are a function of the recorded samples and of the current context, up to one position of the log: nothing in
them depends on what arrived when.
"""
