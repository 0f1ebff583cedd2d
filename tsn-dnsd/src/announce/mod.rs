//! The communication notification (T4-T6): tells a router, before the answer, who is about to connect.
